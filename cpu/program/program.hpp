#pragma once
#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "frame_pool.hpp"

namespace vmxsys::cpu {

class strand;
struct code_location;
struct instruction;

namespace detail {

/// Where a strand stands: what its CPU resumes next, the instruction that is in flight and where the code is. Symmetric
/// transfer would overflow the stack without optimisation, so a coroutine never resumes another: it leaves the next
/// handle here and returns to the strand.
struct strand_position {
  std::coroutine_handle<> next;
  instruction* in_flight = nullptr;
  const code_location* location = nullptr;
};

/// What every coroutine of a strand carries: the strand it runs on and the coroutine that awaits it.
struct promise_base {
  strand* on = nullptr;
  strand_position* at = nullptr;
  std::coroutine_handle<> caller;
  std::exception_ptr error;
};

}  // namespace detail

/// A piece of software: a coroutine that awaits instructions (namespace isa) and other programs, and nothing else.
/// `task<T>` returns a T to the program that awaits it. It starts when awaited, or when a strand is given it as root.
template <class T = void>
class [[nodiscard]] task;
using program = task<void>;

/// Awaitables that need the strand before they are awaited derive from this.
struct strand_query {
  strand* on = nullptr;
};

namespace detail {

template <class T>
struct task_promise;

template <class T>
struct task_awaiter {
  std::coroutine_handle<task_promise<T>> child;
  bool await_ready() const noexcept { return false; }
  template <class P>
  void await_suspend(std::coroutine_handle<P> caller) {
    promise_base& of_child = child.promise();
    of_child.on = caller.promise().on;
    of_child.at = caller.promise().at;
    of_child.caller = caller;
    of_child.at->next = child;
  }
  T await_resume() {
    if (child.promise().error) std::rethrow_exception(child.promise().error);
    if constexpr (!std::is_void_v<T>) return std::move(*child.promise().value);
  }
};

template <class I>
concept instruction_like = std::is_base_of_v<instruction, std::remove_reference_t<I>>;

/// Awaits an instruction where it was made, in the frame of the coroutine. Awaiting the value itself would let g++ copy
/// it within the frame; reading back for that what was written a moment ago costs as much as all the rest of the call.
template <class I>
struct instruction_awaiter {
  I* issued;
  bool await_ready() const noexcept { return issued->await_ready(); }
  template <class P>
  auto await_suspend(std::coroutine_handle<P> self) {
    return issued->await_suspend(self);
  }
  decltype(auto) await_resume() { return issued->await_resume(); }
};

struct task_promise_common : promise_base {
  static void* operator new(std::size_t bytes) { return frame_pool::allocate(bytes); }
  static void operator delete(void* frame, std::size_t bytes) noexcept { frame_pool::release(frame, bytes); }

  std::suspend_always initial_suspend() noexcept { return {}; }
  struct final_awaiter {
    bool await_ready() const noexcept { return false; }
    template <class P>
    void await_suspend(std::coroutine_handle<P> self) noexcept {
      self.promise().at->next = self.promise().caller;
    }
    void await_resume() const noexcept {}
  };
  final_awaiter final_suspend() noexcept { return {}; }
  void unhandled_exception() noexcept { error = std::current_exception(); }

  // Only instructions, programs and questions about the strand may be awaited.
  template <instruction_like I>
  instruction_awaiter<std::remove_reference_t<I>> await_transform(I&& issued) {
    return {&issued};
  }
  template <class T>
  task_awaiter<T> await_transform(task<T>&& called) {
    return {called.handle()};
  }
  template <class Q>
  requires std::is_base_of_v<strand_query, std::remove_cvref_t<Q>> std::remove_cvref_t<Q> await_transform(Q&& query) {
    query.on = on;
    return query;
  }
};

template <class T>
struct task_promise : task_promise_common {
  std::optional<T> value;
  task<T> get_return_object();
  template <class V>
  void return_value(V&& v) {
    value.emplace(std::forward<V>(v));
  }
};
template <>
struct task_promise<void> : task_promise_common {
  task<void> get_return_object();
  void return_void() noexcept {}
};

}  // namespace detail

template <class T>
class [[nodiscard]] task {
 public:
  using promise_type = detail::task_promise<T>;
  using handle_type = std::coroutine_handle<promise_type>;

  explicit task(handle_type h) : handle_{h} {}
  task(task&& other) noexcept : handle_{std::exchange(other.handle_, {})} {}
  task& operator=(task&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~task() {
    if (handle_) handle_.destroy();
  }

  handle_type handle() const { return handle_; }
  handle_type release() { return std::exchange(handle_, {}); }

 private:
  handle_type handle_;
};

namespace detail {
template <class T>
task<T> task_promise<T>::get_return_object() {
  return task<T>{std::coroutine_handle<task_promise<T>>::from_promise(*this)};
}
inline task<void> task_promise<void>::get_return_object() {
  return task<void>{std::coroutine_handle<task_promise<void>>::from_promise(*this)};
}
}  // namespace detail

}  // namespace vmxsys::cpu

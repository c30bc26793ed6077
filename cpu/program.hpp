#pragma once
#include <coroutine>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace vmxsys::cpu {

class strand;
struct instruction;

namespace detail {

/// What every coroutine of a strand carries: the strand it runs on and the coroutine that awaits it.
struct promise_base {
  strand* on = nullptr;
  std::coroutine_handle<> caller;
  std::exception_ptr error;
};

// The strand's side of the trampoline; defined in strand.cpp. Symmetric transfer would overflow the stack without
// optimisation, so a coroutine never resumes another: it leaves the next handle with the strand and returns to it.
void resume_next(strand& on, std::coroutine_handle<> next);
void post(strand& on, instruction& issued, std::coroutine_handle<> then);

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
    child.promise().on = caller.promise().on;
    child.promise().caller = caller;
    resume_next(*caller.promise().on, child);
  }
  T await_resume() {
    if (child.promise().error) std::rethrow_exception(child.promise().error);
    if constexpr (!std::is_void_v<T>) return std::move(*child.promise().value);
  }
};

template <class I>
concept instruction_like = std::is_base_of_v<instruction, std::remove_reference_t<I>>;

struct task_promise_common : promise_base {
  std::suspend_always initial_suspend() noexcept { return {}; }
  struct final_awaiter {
    bool await_ready() const noexcept { return false; }
    template <class P>
    void await_suspend(std::coroutine_handle<P> self) noexcept {
      resume_next(*self.promise().on, self.promise().caller);
    }
    void await_resume() const noexcept {}
  };
  final_awaiter final_suspend() noexcept { return {}; }
  void unhandled_exception() noexcept { error = std::current_exception(); }

  // Only instructions, programs and questions about the strand may be awaited.
  template <instruction_like I>
  I&& await_transform(I&& issued) {
    return std::forward<I>(issued);
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

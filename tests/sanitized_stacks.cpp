// SystemC tells AddressSanitizer of each switch of stacks, but not where the stack of main() is when it switches back
// to it: it says null and 0. From then on the sanitizer does not know the stack on which the next exception is thrown,
// and reports its own use of it. Here its call goes on with the bounds.
#include <cstddef>
#include <dlfcn.h>
#include <pthread.h>

extern "C" void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom, std::size_t size) {
  using function = void (*)(void**, const void*, std::size_t);
  static const auto of_the_sanitizer = reinterpret_cast<function>(dlsym(RTLD_NEXT, "__sanitizer_start_switch_fiber"));
  if (bottom == nullptr) {
    pthread_attr_t attributes;
    void* lowest = nullptr;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
      pthread_attr_getstack(&attributes, &lowest, &size);
      pthread_attr_destroy(&attributes);
    }
    bottom = lowest;
  }
  of_the_sanitizer(fake_stack, bottom, size);
}

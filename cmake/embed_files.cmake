cmake_minimum_required(VERSION 3.25)

# Script behind vmxsys_embed(): writes one C++ file with each input as a raw string.
string(REPLACE "|" ";" files "${FILES}")
set(count 0)
set(entries "")
foreach(file IN LISTS files)
  get_filename_component(key "${file}" NAME_WE)
  file(READ "${file}" text)
  if(text MATCHES "\\)vmxsys\"")
    message(FATAL_ERROR "${file} holds the end mark of a raw string")
  endif()
  string(APPEND entries "    {\"${key}\", R\"vmxsys(${text})vmxsys\"},\n")
  math(EXPR count "${count} + 1")
endforeach()
if(count EQUAL 0)
  string(APPEND entries "    {\"\", \"\"},\n")
endif()
file(WRITE "${OUTPUT}" "// Generated from files; do not edit.
#include <vmxsys/platform/config/embedded_file.hpp>

namespace vmxsys::platform {

extern const embedded_file ${NAME}[] = {
${entries}};
extern const std::size_t ${NAME}_count = ${count};

}  // namespace vmxsys::platform
")

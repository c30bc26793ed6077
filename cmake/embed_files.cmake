cmake_minimum_required(VERSION 3.25)

# Script behind vmxsys_embed(): writes one C++ file with each input as a raw string.
string(REPLACE "|" ";" files "${FILES}")
set(count 0)
set(elements "")
foreach(file IN LISTS files)
  get_filename_component(key "${file}" NAME_WE)
  file(READ "${file}" text)
  if(text MATCHES "\\)vmxsys\"")
    message(FATAL_ERROR "${file} holds the end mark of a raw string")
  endif()
  if(ENTRIES)
    string(JSON name GET "${text}" name)
    string(JSON description GET "${text}" description)
    if(NOT name STREQUAL key)
      message(FATAL_ERROR "${file}: its name is \"${name}\"")
    endif()
    string(APPEND elements "extern const ${ENTRIES} ${key}_${SUFFIX} = entry_without<${ENTRIES}>(
    \"${key}\", R\"vmxsys(${description})vmxsys\", R\"vmxsys(${text})vmxsys\");\n")
  else()
    string(APPEND elements "    {\"${key}\", R\"vmxsys(${text})vmxsys\"},\n")
  endif()
  math(EXPR count "${count} + 1")
endforeach()
if(ENTRIES)
  file(WRITE "${OUTPUT}" "// Generated from files; do not edit.
#include <${HEADER}>

namespace vmxsys::platform {

${elements}
}  // namespace vmxsys::platform
")
  return()
endif()
if(count EQUAL 0)
  string(APPEND elements "    {\"\", \"\"},\n")
endif()
file(WRITE "${OUTPUT}" "// Generated from files; do not edit.
#include <vmxsys/platform/config/embedded_file.hpp>

namespace vmxsys::platform {

extern const embedded_file ${NAME}[] = {
${elements}};
extern const std::size_t ${NAME}_count = ${count};

}  // namespace vmxsys::platform
")

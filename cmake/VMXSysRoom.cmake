# One room = one folder = one library target = one include root that holds only this room.
#
#   vmxsys_room(<name> CXX <standard> FOLDERS <folder>... [SEES <room to the left>] [EXCLUDE <file>...]
#               [PRECOMPILE <header>...])
#
# FOLDERS are layers, from left to right: a folder includes only itself and folders to its left, which the test
# include_direction.<name> checks. Headers in a folder detail/ belong to the folder around it and are not installed.
#
# Sources are every *.cpp of the folder; the SystemC shells of a room are the files named sc_*.cpp and
# are left out when VMXSYS_WITH_SYSTEMC is OFF. A header is spelled <vmxsys/<room>/<folder>/<file>.hpp> in the
# build tree and in the install tree alike: the build tree reaches it through a link to the room.
# A room without a source is an interface target, so that an empty folder does not stop anybody.
function(vmxsys_room room)
  if(NOT room IN_LIST VMXSYS_ROOMS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "CXX;SEES" "FOLDERS;EXCLUDE;PRECOMPILE" ${ARGN})
  set_property(GLOBAL PROPERTY VMXSYS_FOLDERS_${room} "${ARG_FOLDERS}")
  set(source_dir "${PROJECT_SOURCE_DIR}/${room}")
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${source_dir}/*.cpp")
  foreach(excluded IN LISTS ARG_EXCLUDE)
    list(REMOVE_ITEM sources "${source_dir}/${excluded}")
  endforeach()
  if(NOT VMXSYS_WITH_SYSTEMC)
    list(FILTER sources EXCLUDE REGEX "/sc_[a-z0-9_]+\\.cpp$")
  endif()

  set(include_root "${PROJECT_BINARY_DIR}/include/${room}")
  file(MAKE_DIRECTORY "${include_root}/vmxsys")
  file(CREATE_LINK "${source_dir}" "${include_root}/vmxsys/${room}" SYMBOLIC)

  set(target vmxsys_${room})
  if(sources)
    set(kind STATIC)
    if(VMXSYS_BUILD_SHARED)
      set(kind SHARED)
    endif()
    set(scope PUBLIC)
    add_library(${target} ${kind} ${sources})
    set_target_properties(${target} PROPERTIES
      CXX_STANDARD ${ARG_CXX}
      CXX_EXTENSIONS OFF
      POSITION_INDEPENDENT_CODE ON
      VERSION ${PROJECT_VERSION}
      SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
    if(ARG_PRECOMPILE)
      vmxsys_precompile(${target} ${ARG_PRECOMPILE})
    endif()
    vmxsys_flags(${target})
  else()
    set(scope INTERFACE)
    add_library(${target} INTERFACE)
  endif()
  add_library(vmxsys::${room} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${room})
  target_compile_features(${target} ${scope} cxx_std_${ARG_CXX})
  target_include_directories(${target} ${scope}
    "$<BUILD_INTERFACE:${include_root}>"
    "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
  if(ARG_SEES)
    target_link_libraries(${target} ${scope} vmxsys::${ARG_SEES})
  endif()
endfunction()

# Gives a room, and every room to its right, a dependency from outside.
function(vmxsys_room_links room)
  set(scope PUBLIC)
  get_target_property(type vmxsys_${room} TYPE)
  if(type STREQUAL INTERFACE_LIBRARY)
    set(scope INTERFACE)
  endif()
  target_link_libraries(vmxsys_${room} ${scope} ${ARGN})
endfunction()

function(vmxsys_precompile target)
  target_precompile_headers(${target} PRIVATE ${ARGN})
  # Lets ccache see through a precompiled header.
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
endfunction()

# Warnings for our own code only, never for a consumer's; sanitizers for both sides of a link.
function(vmxsys_flags target)
  if(PROJECT_IS_TOP_LEVEL)
    target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion)
  endif()
  if(VMXSYS_SANITIZE)
    target_compile_options(${target} PUBLIC -fsanitize=${VMXSYS_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(${target} PUBLIC -fsanitize=${VMXSYS_SANITIZE})
  endif()
endfunction()

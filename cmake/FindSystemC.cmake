# Finds SystemC and TLM-2.0 however they were installed and ends in one target, SystemC::systemc.
#
# In this order: a target SystemC::systemc that exists already (add_subdirectory, FetchContent); the package
# SystemCLanguage (built from the Accellera sources with CMake); pkg-config "systemc" (Debian, Ubuntu);
# the variable or environment variable SYSTEMC_HOME.
#
# The SystemC library accepts only objects that were compiled for the C++ standard it was built with itself
# (Debian 12: C++17), or that say so through SC_CPLUSPLUS. The module links a small program as C++20; when that
# fails, and succeeds with SC_CPLUSPLUS set to the library's standard, the definition becomes a part of the target.
# No other SC_* switch is defined.

include(FindPackageHandleStandardArgs)
set(_vmxsys_systemc_how "")

if(TARGET SystemC::systemc)
  set(_vmxsys_systemc_how "target of the enclosing project")
endif()

if(NOT _vmxsys_systemc_how)
  find_package(SystemCLanguage CONFIG QUIET)
  if(TARGET SystemC::systemc)
    set(_vmxsys_systemc_how "package SystemCLanguage in ${SystemCLanguage_DIR}")
    set(SystemC_VERSION "${SystemCLanguage_VERSION}")
  endif()
endif()

if(NOT _vmxsys_systemc_how)
  find_package(PkgConfig QUIET)
  if(PkgConfig_FOUND)
    pkg_check_modules(VMXSYS_PC_SYSTEMC QUIET IMPORTED_TARGET systemc)
    if(VMXSYS_PC_SYSTEMC_FOUND)
      add_library(SystemC::systemc INTERFACE IMPORTED)
      target_link_libraries(SystemC::systemc INTERFACE PkgConfig::VMXSYS_PC_SYSTEMC)
      set(_vmxsys_systemc_how "pkg-config")
      set(SystemC_VERSION "${VMXSYS_PC_SYSTEMC_VERSION}")
      set(_vmxsys_systemc_file "${VMXSYS_PC_SYSTEMC_LINK_LIBRARIES}")
    endif()
  endif()
endif()

if(NOT _vmxsys_systemc_how)
  if(NOT SYSTEMC_HOME AND DEFINED ENV{SYSTEMC_HOME})
    set(SYSTEMC_HOME "$ENV{SYSTEMC_HOME}")
  endif()
  if(SYSTEMC_HOME)
    find_path(VMXSYS_SYSTEMC_INCLUDE_DIR systemc HINTS "${SYSTEMC_HOME}" PATH_SUFFIXES include NO_DEFAULT_PATH)
    find_library(VMXSYS_SYSTEMC_LIBRARY systemc HINTS "${SYSTEMC_HOME}"
      PATH_SUFFIXES lib lib64 lib-linux64 "lib/${CMAKE_LIBRARY_ARCHITECTURE}" NO_DEFAULT_PATH)
    mark_as_advanced(VMXSYS_SYSTEMC_INCLUDE_DIR VMXSYS_SYSTEMC_LIBRARY)
    if(VMXSYS_SYSTEMC_INCLUDE_DIR AND VMXSYS_SYSTEMC_LIBRARY)
      find_package(Threads REQUIRED)
      add_library(SystemC::systemc UNKNOWN IMPORTED)
      set_target_properties(SystemC::systemc PROPERTIES
        IMPORTED_LOCATION "${VMXSYS_SYSTEMC_LIBRARY}"
        INTERFACE_INCLUDE_DIRECTORIES "${VMXSYS_SYSTEMC_INCLUDE_DIR}"
        INTERFACE_LINK_LIBRARIES Threads::Threads)
      set(_vmxsys_systemc_how "SYSTEMC_HOME=${SYSTEMC_HOME}")
      set(_vmxsys_systemc_file "${VMXSYS_SYSTEMC_LIBRARY}")
    endif()
  endif()
endif()

find_package_handle_standard_args(SystemC
  REQUIRED_VARS _vmxsys_systemc_how
  REASON_FAILURE_MESSAGE "no target SystemC::systemc, no package SystemCLanguage, no pkg-config file systemc.pc and \
no SYSTEMC_HOME. Debian and Ubuntu: apt-get install libsystemc-dev pkg-config. Without SystemC: \
-DVMXSYS_WITH_SYSTEMC=OFF builds everything but the shells")

# Tries to link a small sc_main as C++20; `definition` is empty or SC_CPLUSPLUS=...
function(_vmxsys_systemc_links definition result_variable)
  set(source "${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/vmxsys_systemc_probe.cpp")
  file(WRITE "${source}" "#include <systemc>\nint sc_main(int, char*[]) { sc_core::sc_start(); return 0; }\n")
  set(definitions "")
  if(definition)
    set(definitions COMPILE_DEFINITIONS "-D${definition}")
  endif()
  try_compile(${result_variable}
    "${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/${result_variable}" "${source}"
    ${definitions}
    LINK_LIBRARIES SystemC::systemc
    CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON
    OUTPUT_VARIABLE output)
  set(_vmxsys_systemc_output "${output}" PARENT_SCOPE)
endfunction()

if(SystemC_FOUND)
  set(_vmxsys_systemc_target SystemC::systemc)
  get_target_property(_vmxsys_systemc_alias SystemC::systemc ALIASED_TARGET)
  if(_vmxsys_systemc_alias)
    set(_vmxsys_systemc_target "${_vmxsys_systemc_alias}")
  endif()
  get_target_property(_vmxsys_systemc_imported ${_vmxsys_systemc_target} IMPORTED)
  get_target_property(_vmxsys_systemc_definitions ${_vmxsys_systemc_target} INTERFACE_COMPILE_DEFINITIONS)
  set(_vmxsys_systemc_definition "")

  if("${_vmxsys_systemc_definitions}" MATCHES "SC_CPLUSPLUS=")
    # A second look at the same target: nothing to do.
  elseif(NOT _vmxsys_systemc_imported)
    # Built by this very tree, so nothing can be linked yet; its own standard decides.
    get_target_property(_vmxsys_systemc_standard ${_vmxsys_systemc_target} CXX_STANDARD)
    if(NOT _vmxsys_systemc_standard AND CMAKE_CXX_STANDARD)
      set(_vmxsys_systemc_standard "${CMAKE_CXX_STANDARD}")
    endif()
    if(_vmxsys_systemc_standard EQUAL 17 OR NOT _vmxsys_systemc_standard)
      set(_vmxsys_systemc_definition SC_CPLUSPLUS=201703L)
    elseif(_vmxsys_systemc_standard EQUAL 14)
      set(_vmxsys_systemc_definition SC_CPLUSPLUS=201402L)
    elseif(_vmxsys_systemc_standard EQUAL 11)
      set(_vmxsys_systemc_definition SC_CPLUSPLUS=201103L)
    endif()
  elseif(VMXSYS_SYSTEMC_PROBED STREQUAL "${_vmxsys_systemc_how}|${CMAKE_CXX_COMPILER}|${CMAKE_CXX_FLAGS}")
    set(_vmxsys_systemc_definition "${VMXSYS_SYSTEMC_DEFINITION}")
  else()
    _vmxsys_systemc_links("" VMXSYS_SYSTEMC_LINKS_AS_CXX20)
    if(NOT VMXSYS_SYSTEMC_LINKS_AS_CXX20)
      set(_vmxsys_systemc_first_output "${_vmxsys_systemc_output}")
      foreach(standard 201703L 201402L 201103L)
        _vmxsys_systemc_links("SC_CPLUSPLUS=${standard}" VMXSYS_SYSTEMC_LINKS_WITH_${standard})
        if(VMXSYS_SYSTEMC_LINKS_WITH_${standard})
          set(_vmxsys_systemc_definition "SC_CPLUSPLUS=${standard}")
          break()
        endif()
      endforeach()
      if(NOT _vmxsys_systemc_definition)
        set(_vmxsys_systemc_wants "")
        foreach(file IN LISTS _vmxsys_systemc_file)
          if(EXISTS "${file}")
            file(STRINGS "${file}" symbols REGEX "sc_api_version_[0-9_]+cxx[0-9]+L")
            if("${symbols}" MATCHES "cxx([0-9]+)L")
              set(_vmxsys_systemc_wants "The library was built for __cplusplus == ${CMAKE_MATCH_1}L (${file}). ")
            endif()
          endif()
        endforeach()
        unset(VMXSYS_SYSTEMC_LINKS_AS_CXX20 CACHE)
        message(FATAL_ERROR "SystemC was found (${_vmxsys_systemc_how}), but a C++20 program does not link with it, "
          "with or without SC_CPLUSPLUS. ${_vmxsys_systemc_wants}Use a SystemC built with the same compiler and "
          "-std=c++17, or -DVMXSYS_WITH_SYSTEMC=OFF. The first attempt said:\n${_vmxsys_systemc_first_output}")
      endif()
    endif()
    set(VMXSYS_SYSTEMC_DEFINITION "${_vmxsys_systemc_definition}" CACHE INTERNAL "What SystemC needs defined")
    set(VMXSYS_SYSTEMC_PROBED "${_vmxsys_systemc_how}|${CMAKE_CXX_COMPILER}|${CMAKE_CXX_FLAGS}"
      CACHE INTERNAL "What the SystemC link probe was done with")
  endif()

  if(_vmxsys_systemc_definition)
    set_property(TARGET ${_vmxsys_systemc_target} APPEND PROPERTY
      INTERFACE_COMPILE_DEFINITIONS "${_vmxsys_systemc_definition}")
  endif()
  message(STATUS "SystemC ${SystemC_VERSION} by ${_vmxsys_systemc_how} ${_vmxsys_systemc_definition}")
endif()

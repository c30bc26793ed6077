# Public headers under include/vmxsys/<room>/ (all but those in detail/), one export set per room (so that a consumer of the rules alone needs neither
# Boost nor SystemC), the package VMXSys, and the command line.
include(CMakePackageConfigHelpers)
set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/VMXSys")

# Installed shared rooms find each other, and the program finds them, wherever the prefix is.
file(RELATIVE_PATH libraries_from_program "/${CMAKE_INSTALL_BINDIR}" "/${CMAKE_INSTALL_LIBDIR}")

foreach(room IN LISTS VMXSYS_ROOMS)
  set(shells "")
  if(NOT VMXSYS_WITH_SYSTEMC)
    set(shells PATTERN "sc_*.hpp" EXCLUDE)
  endif()
  install(DIRECTORY "${PROJECT_SOURCE_DIR}/${room}/"
    DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/vmxsys/${room}"
    FILES_MATCHING PATTERN "*.hpp" PATTERN "detail" EXCLUDE ${shells})
  get_target_property(type vmxsys_${room} TYPE)
  if(type STREQUAL SHARED_LIBRARY)
    set_target_properties(vmxsys_${room} PROPERTIES INSTALL_RPATH "$ORIGIN")
  endif()
  install(TARGETS vmxsys_${room} EXPORT VMXSys-${room}
    ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
    LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
    RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
  install(EXPORT VMXSys-${room} FILE VMXSys-${room}.cmake NAMESPACE vmxsys:: DESTINATION "${package_dir}")
endforeach()

if(TARGET vmxsys_cli)
  if(VMXSYS_BUILD_SHARED)
    set_target_properties(vmxsys_cli PROPERTIES INSTALL_RPATH "$ORIGIN/${libraries_from_program}")
  endif()
  install(TARGETS vmxsys_cli RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()

configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/VMXSysConfig.cmake.in"
  "${PROJECT_BINARY_DIR}/VMXSysConfig.cmake" INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/VMXSysConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES
  "${PROJECT_BINARY_DIR}/VMXSysConfig.cmake"
  "${PROJECT_BINARY_DIR}/VMXSysConfigVersion.cmake"
  "${CMAKE_CURRENT_LIST_DIR}/FindSystemC.cmake"
  DESTINATION "${package_dir}")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")

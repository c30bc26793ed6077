# vmxsys_embed(<target> NAME <name> FILES <file>... [ENTRIES <type> HEADER <header> SUFFIX <suffix>])
#
# Puts text files into a target: a generated <name>.cpp defines
#   const embedded_file vmxsys::platform::<name>[];  and  const std::size_t vmxsys::platform::<name>_count;
# (see platform/config/embedded_file.hpp). The file's name without extension is its key. With ENTRIES each file is a JSON
# object with "name", which is its key, and "description", and becomes an entry of a catalogue
#   extern const <type> vmxsys::platform::<key>_<suffix>
# whose last member is the text. Regenerated when a file changes.
set(VMXSYS_EMBED_SCRIPT "${CMAKE_CURRENT_LIST_DIR}/embed_files.cmake")

function(vmxsys_embed target)
  cmake_parse_arguments(ARG "" "NAME;ENTRIES;HEADER;SUFFIX" "FILES" ${ARGN})
  set(output "${PROJECT_BINARY_DIR}/generated/${ARG_NAME}.cpp")
  list(JOIN ARG_FILES "|" joined)
  add_custom_command(
    OUTPUT "${output}"
    COMMAND "${CMAKE_COMMAND}" "-DNAME=${ARG_NAME}" "-DFILES=${joined}" "-DOUTPUT=${output}"
      "-DENTRIES=${ARG_ENTRIES}" "-DHEADER=${ARG_HEADER}" "-DSUFFIX=${ARG_SUFFIX}" -P "${VMXSYS_EMBED_SCRIPT}"
    DEPENDS ${ARG_FILES} "${VMXSYS_EMBED_SCRIPT}"
    COMMENT "Embedding ${ARG_NAME}"
    VERBATIM)
  target_sources(${target} PRIVATE "${output}")
  set_source_files_properties("${output}" PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
endfunction()

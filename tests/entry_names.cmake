cmake_minimum_required(VERSION 3.25)

# Proves that the name of an entry of a catalogue (vmx/base/catalogue.hpp) stands in the entry's own file and in no other
# source: what others must know of an entry is a member of its entry, not a comparison of names. Studies
# (platform/experiments) name what they compare.
# Proves as well that each kind of entry has an example from outside the tree.

# Ordinary words that mean something else there: file, word, meaning.
set(allowed
  vmx/base/distribution.cpp            fixed   "a kind of distribution"
  vmx/events/boundary.hpp              none    "no boundary event"
  vmx/transition/msr_list.cpp          none    "no failure"
  vmx/transition/vm_exit.cpp           none    "no VMX abort"
  vmx/vmcs/control.cpp                 none    "no control"
  vmx/vmcs/capability.cpp              haswell_ep       "a capability row"
  vmx/vmcs/capability.cpp              skylake_sp       "a capability row"
  vmx/vmcs/capability.cpp              cascade_lake_sp  "a capability row"
  apic/remapping/interrupt_remapping.hpp  posted  "a step of remapping"
  cpu/facts/cpu_facts.hpp              halt    "a fact"
  models/posting/posting_action.cpp    none    "no action"
  models/posting/posting_action.cpp    sleep   "an action of the posting protocol"
  platform/cli/list_rules.cpp          trap    "a class of VM exits"
  platform/config/record.cpp           fixed   "a kind of distribution"
  platform/config/record.cpp           none    "no default"
  platform/machine/combinations.cpp    none    "no preset"
  platform/presets/preset_document.cpp kvm     "a group of costs"
  platform/presets/preset_reader.cpp   kvm     "a group of costs")

set(errors "")
set(files "")
foreach(room IN ITEMS vmx apic cpu models platform)
  file(GLOB_RECURSE found RELATIVE "${SOURCE_DIR}" "${SOURCE_DIR}/${room}/*.hpp" "${SOURCE_DIR}/${room}/*.cpp")
  list(APPEND files ${found})
endforeach()
list(FILTER files EXCLUDE REGEX "^platform/experiments/")

# Source text without comments, without the units of options and figures, which are words of any kind, and without what
# CMake lists take for their own.
function(read_source file variable)
  file(READ "${SOURCE_DIR}/${file}" text)
  string(REGEX REPLACE "[][;]" " " text "${text}")
  string(REGEX REPLACE "//[^\n]*" "" text "${text}")
  string(REGEX REPLACE "([^a-z_](row|figure)<[^()]*>\\([ \n]*\"[^\"]*\",[ \n]*)\"[^\"]*\"" "\\1" text "${text}")
  set(${variable} "${text}" PARENT_SCOPE)
endfunction()

set(names "")
foreach(file IN LISTS files)
  if(NOT file MATCHES "[.]cpp$")
    continue()
  endif()
  read_source("${file}" text)
  string(REGEX MATCHALL "entry_with(out)?<[^()]*>\\([ \n]*\"[a-z0-9_]+\"" entries "${text}")
  foreach(entry IN LISTS entries)
    string(REGEX REPLACE ".*\"([a-z0-9_]+)\"" "\\1" name "${entry}")
    list(APPEND names "${name}")
    list(APPEND files_of_${name} "${file}")
  endforeach()
endforeach()
# A preset is a file.
file(GLOB presets RELATIVE "${SOURCE_DIR}" "${SOURCE_DIR}/platform/presets/*.json")
foreach(file IN LISTS presets)
  get_filename_component(name "${file}" NAME_WE)
  list(APPEND names "${name}")
  list(APPEND files_of_${name} "${file}")
endforeach()
list(REMOVE_DUPLICATES names)
list(LENGTH names count)
if(count LESS 50)
  list(APPEND errors "only ${count} entries found: how they are written has changed")
endif()

set(seen "")
foreach(file IN LISTS files)
  read_source("${file}" text)
  string(REGEX MATCHALL "\"[a-z0-9_]+\"" literals "${text}")
  list(REMOVE_DUPLICATES literals)
  foreach(literal IN LISTS literals)
    string(REPLACE "\"" "" name "${literal}")
    if(NOT name IN_LIST names OR file IN_LIST files_of_${name})
      continue()
    endif()
    list(APPEND seen "${file}|${name}")
  endforeach()
endforeach()

while(allowed)
  list(POP_FRONT allowed file name meaning)
  if(NOT "${file}|${name}" IN_LIST seen)
    list(APPEND errors "${file}: no longer has the word \"${name}\" (${meaning}): take it out of entry_names.cmake")
  endif()
  list(REMOVE_ITEM seen "${file}|${name}")
endwhile()
foreach(one IN LISTS seen)
  string(REPLACE "|" ";" one "${one}")
  list(GET one 0 file)
  list(GET one 1 name)
  list(APPEND errors
    "${file}: \"${name}\" is an entry of ${files_of_${name}}: what is asked of it belongs into the entry as a member")
endforeach()

# Every kind that a machine knows by name has an example from outside the tree: tests/extend/<kind>.cpp defines an entry,
# and tests/extend/entries.cpp adds it.
file(READ "${SOURCE_DIR}/platform/machine/catalogues.hpp" text)
string(REGEX MATCHALL "catalogue<[a-z_:]+_entry> [a-z_]+ =" kinds "${text}")
list(LENGTH kinds kind_count)
if(kind_count LESS 16)
  list(APPEND errors "only ${kind_count} kinds found in catalogues.hpp: how they are written has changed")
endif()
file(READ "${SOURCE_DIR}/tests/extend/entries.cpp" added)
foreach(line IN LISTS kinds)
  string(REGEX MATCH "([a-z_]+)_entry> ([a-z_]+)" line "${line}")
  set(kind "${CMAKE_MATCH_1}")
  set(member "${CMAKE_MATCH_2}")
  set(example "${SOURCE_DIR}/tests/extend/${kind}.cpp")
  set(text "")
  if(EXISTS "${example}")
    file(READ "${example}" text)
  endif()
  if(NOT text MATCHES "extern const ${kind}_entry ")
    list(APPEND errors "tests/extend/${kind}.cpp: no example of an own ${kind} (catalogues::${member})")
  endif()
  if(NOT added MATCHES "names[.]${member}[.]add\\(")
    list(APPEND errors "tests/extend/entries.cpp: adds nothing to ${member}")
  endif()
endforeach()

if(errors)
  list(JOIN errors "\n" text)
  message(FATAL_ERROR "${text}")
endif()
message(STATUS "${count} entries of ${kind_count} kinds")

cmake_minimum_required(VERSION 3.25)

# Proves that an entry of each catalogue goes as it came, with its file and its line: takes one of each out of a copy of
# the tree, all at once, builds the program, and looks whether `vmxsys list` still has all others and a machine runs.
#
#   cmake -DSOURCE_DIR=... -DWORK_DIR=... -DVMXSYS=<program of the whole tree> -DOPTIONS=<-D...|-D...>
#         -DGENERATOR=... -P deletion.cmake

# Topic of `list`, name, catalogue, what stands there, files. Never the default, which is the first of its catalogue.
set(entries
  "detectors|rip_matched|vmx/spin_detectors/catalogue.cpp|rip_matched_entry|vmx/spin_detectors/rip_matched.*"
  "schedulers|round_robin|models/schedulers/catalogue.cpp|round_robin_entry|models/schedulers/round_robin.*"
  "locks|ticket|models/kernel/locks/catalogue.cpp|ticket_lock_entry|models/kernel/locks/ticket_lock.*"
  "apics|xapic|models/kernel/apic_drivers/catalogue.cpp|xapic_entry|models/kernel/apic_drivers/xapic.*"
  "workloads|user_spin|models/workloads/catalogue.cpp|user_spin_entry|models/workloads/user_spin.*"
  "policies|sleep|models/kvm/spin/catalogue.cpp|sleep_on_spin_entry|models/kvm/spin/sleep_on_spin.*"
  "interrupt_paths|direct|models/kvm/interrupts/catalogue.cpp|direct_path_entry|models/kvm/interrupts/direct_path.*"
  "timer_backends|posted|models/kvm/timers/catalogue.cpp|posted_timer_entry|models/kvm/timers/posted_timer.*"
  "timer_advances|adaptive|models/kvm/timers/advance_catalogue.cpp|adaptive_advance_entry|models/kvm/timers/adaptive_*"
  "vcpu_affinities|spread|models/kvm/affinity/catalogue.cpp|spread_affinity_entry|models/kvm/affinity/spread.*"
  "traces|sched_map|platform/observe/trace/catalogue.cpp|sched_map_entry|platform/observe/trace/sched*"
  "collectors|directed_yields|platform/observe/collectors/catalogue.cpp|directed_yields_entry|platform/observe/collectors/directed_yields.*"
  "presets|hypothetical_apic_timer|platform/presets/catalogue.cpp|hypothetical_apic_timer_preset|platform/presets/hypothetical_apic_timer.*")

function(run what)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE text ERROR_VARIABLE text)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${what}:\n${text}")
  endif()
  set(output "${text}" PARENT_SCOPE)
endfunction()

# Names that `list TOPIC` prints.
function(names_of program topic variable)
  run("${program} list ${topic}" "${program}" list "${topic}")
  string(REPLACE ";" "," output "${output}")
  string(REGEX MATCHALL "(^|\n)[a-z0-9_]+" names "${output}")
  list(TRANSFORM names STRIP)
  set(${variable} "${names}" PARENT_SCOPE)
endfunction()

set(tree "${WORK_DIR}/tree")
file(REMOVE_RECURSE "${tree}")
foreach(part IN ITEMS CMakeLists.txt cmake examples vmx apic cpu models platform)
  file(COPY "${SOURCE_DIR}/${part}" DESTINATION "${tree}")
endforeach()

# Every catalogue is one of the above, or has a single entry.
file(GLOB_RECURSE catalogues RELATIVE "${tree}" "${tree}/*catalogue.cpp")
foreach(catalogue IN LISTS catalogues)
  file(READ "${tree}/${catalogue}" text)
  if("${entries}" MATCHES "[|]${catalogue}[|]" OR NOT text MATCHES "VMXSYS_CATALOGUE\\([a-z_]+, [a-z_]+, \"([^\"]+)\"")
    continue()
  endif()
  set(kind "${CMAKE_MATCH_1}")
  string(REGEX MATCHALL "entry\\([a-z0-9_]+_entry\\)" listed "${text}")
  list(LENGTH listed count)
  if(NOT count EQUAL 1)
    message(FATAL_ERROR "${catalogue}: ${count} entries of kind ${kind}, and none is in the list of deletion.cmake")
  endif()
  message(STATUS "${kind}: a single entry, which stays")
endforeach()

foreach(row IN LISTS entries)
  string(REPLACE "|" ";" row "${row}")
  list(POP_FRONT row topic name catalogue symbol files)
  names_of("${VMXSYS}" ${topic} names)
  list(FIND names ${name} place)
  if(place LESS 1)
    message(FATAL_ERROR "${topic}: ${name} is not there, or is the default: ${names}")
  endif()

  file(GLOB found "${tree}/${files}")
  if(NOT found)
    message(FATAL_ERROR "${files}: no such file")
  endif()
  file(REMOVE ${found})

  # `entry(NAME)` of a VMXSYS_CATALOGUE; of a table the declaration and the line. Nothing else names it.
  file(READ "${tree}/${catalogue}" text)
  string(REGEX REPLACE " *entry\\(${symbol}\\)|extern const [a-z_]+ ${symbol}[\;]\n| *&${symbol},\n" "" rest "${text}")
  if(rest STREQUAL text OR rest MATCHES "[^a-z0-9_]${symbol}[^a-z0-9_]")
    message(FATAL_ERROR "${catalogue}: no line of ${symbol} to take out, or more than its line:\n${rest}")
  endif()
  file(WRITE "${tree}/${catalogue}" "${rest}")
  message(STATUS "${topic}: without ${name}")
endforeach()

string(REPLACE "|" ";" options "${OPTIONS}")
run("configure" "${CMAKE_COMMAND}" -S "${tree}" -B "${WORK_DIR}/build" -G "${GENERATOR}" ${options}
  -DVMXSYS_BUILD_TESTS=OFF)
run("build" "${CMAKE_COMMAND}" --build "${WORK_DIR}/build" --target vmxsys_cli)

set(vmxsys "${WORK_DIR}/build/vmxsys")
foreach(row IN LISTS entries)
  string(REPLACE "|" ";" row "${row}")
  list(POP_FRONT row topic name)
  names_of("${VMXSYS}" ${topic} before)
  names_of("${vmxsys}" ${topic} after)
  list(REMOVE_ITEM before ${name})
  if(NOT after STREQUAL before)
    message(FATAL_ERROR "list ${topic}: ${after}; expected: ${before}")
  endif()
endforeach()
run("run" "${vmxsys}" run "${tree}/examples/01_ple_storm/ple_storm.json" --until 25ms -q)
message(STATUS "built, listed and run")

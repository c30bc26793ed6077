# Counts what was skipped, with the reasons, in the log of a ctest run (Testing/Temporary/LastTest.log):
#   awk -f tests/skipped.awk LastTest.log
# A GoogleTest case prints "<file>:<line>: Skipped" and its reason in the next line, any other entry "SKIPPED: <reason>".
function skipped(reason) {
  if (reason == "") reason = "no reason given"
  ++count
  if (!(reason in times)) order[++reasons] = reason
  ++times[reason]
}
due { skipped($0); due = 0; next }
/: Skipped$/ { due = 1; next }
/^SKIPPED: / { skipped(substr($0, 10)) }
END {
  line = count + 0 " skipped"
  for (i = 1; i <= reasons; ++i)
    line = line (i == 1 ? ": " : "; ") order[i] (times[order[i]] > 1 ? " (" times[order[i]] " times)" : "")
  print line
}

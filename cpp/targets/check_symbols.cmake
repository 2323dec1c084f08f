# Fails if a target's library defines a global or weak symbol other than its table, or code that
# runs at program start:
#
#   cmake -DNM=nm -DLIBRARY=libnnkernels_avx2.a -DTABLE=avx2_table -P check_symbols.cmake
#
# The linker keeps one copy of a symbol defined in several objects. If that copy were compiled for
# AVX-512, the program would crash on every other CPU. AVX-512 code at program start would crash
# too, since the CPU has not been checked yet. tests/test_symbols.py shows what fails.
execute_process(COMMAND ${NM} -P ${LIBRARY} OUTPUT_VARIABLE output RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "${NM} failed on ${LIBRARY}")
endif()
string(REPLACE "\n" ";" lines "${output}")
set(tables 0)
foreach(line IN LISTS lines)
  # "name type ..." of a defined symbol; static initialisers are local symbols.
  if(line MATCHES "^([^ ]*_GLOBAL__(sub_)?I_[^ ]*) ")
    message(SEND_ERROR "${LIBRARY} runs ${CMAKE_MATCH_1} when the program starts, before it knows the CPU")
  elseif(line MATCHES "^([^ ]+) ([A-TV-Zuvw])")
    set(symbol "${CMAKE_MATCH_1}")
    set(type "${CMAKE_MATCH_2}")
    if(symbol MATCHES "^_*(DW\\.ref\\.|odr_asan|asan_|ubsan_|start___sancov_|stop___sancov_)")
      # sanitizers add the same symbols for every target
    elseif(symbol MATCHES "^(__(real|xmm|ymm|zmm)|\\?\\?_C)@")
      # a constant or a string on Windows: its name is its value
    elseif(symbol MATCHES "${TABLE}" AND type MATCHES "^[TD]$") # D: where functions have descriptors (big-endian PowerPC)
      math(EXPR tables "${tables} + 1")
    elseif(NOT (type STREQUAL "w" OR type STREQUAL "v") OR line MATCHES "^[^ ]+ [wv] [0-9a-fA-F]")
      message(SEND_ERROR "${LIBRARY} defines ${symbol} (type ${type}), which the linker could share with another target")
    endif()
  endif()
endforeach()
if(NOT tables EQUAL 1)
  message(FATAL_ERROR "${LIBRARY} should define ${TABLE} once, but does so ${tables} times")
endif()

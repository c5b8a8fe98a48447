find_package(GTest REQUIRED)
include(GoogleTest)

# tightfit_test(NAME SOURCES file... LIBS lib... LABELS label...): one test program, found test by test.
function(tightfit_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE tightfit_options ${ARG_LIBS} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE
    TIGHTFIT_SOURCE_DIR="${PROJECT_SOURCE_DIR}" TIGHTFIT_BINARY_DIR="${PROJECT_BINARY_DIR}")
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60 PROPERTIES LABELS "${ARG_LABELS}")
endfunction()

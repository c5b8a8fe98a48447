find_package(GTest REQUIRED)
include(GoogleTest)

# tightfit_test(NAME SOURCES file... LIBS lib... LABELS label... [FIXTURES fixture...]): one test
# program, found test by test.
function(tightfit_test name)
  cmake_parse_arguments(ARG "SERIAL" "" "SOURCES;LIBS;LABELS;FIXTURES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE tightfit_options ${ARG_LIBS} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE
    TIGHTFIT_SOURCE_DIR="${PROJECT_SOURCE_DIR}" TIGHTFIT_BINARY_DIR="${PROJECT_BINARY_DIR}")
  set_target_properties(${name} PROPERTIES
    UNITY_BUILD ${TIGHTFIT_UNITY_BUILD} UNITY_BUILD_BATCH_SIZE 8)
  set(_properties LABELS "${ARG_LABELS}")
  if(ARG_FIXTURES)
    list(APPEND _properties FIXTURES_REQUIRED "${ARG_FIXTURES}")
  endif()
  if(ARG_SERIAL)
    list(APPEND _properties RUN_SERIAL TRUE)
  endif()
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60 PROPERTIES ${_properties})
endfunction()

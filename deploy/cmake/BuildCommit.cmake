# The commit that is built, read from git at each build, so that --version is never that of the last
# configure. Where there is no git, the environment variable TIGHTFIT_BUILD_COMMIT tells it.
# Run as a script: cmake -DSOURCE_DIR=... -DTEMPLATE=... -DOUTPUT=... -DVERSION=... -P this
execute_process(
  COMMAND git -C ${SOURCE_DIR} rev-parse --show-prefix
  OUTPUT_VARIABLE _prefix OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE _no_git ERROR_QUIET)
set(TIGHTFIT_BUILD_COMMIT "$ENV{TIGHTFIT_BUILD_COMMIT}")
# A prefix means that the sources merely lie somewhere inside another repository.
if(NOT _no_git AND _prefix STREQUAL "")
  execute_process(
    COMMAND git -C ${SOURCE_DIR} describe --always --dirty --abbrev=12 --exclude=*
    OUTPUT_VARIABLE TIGHTFIT_BUILD_COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
set(TIGHTFIT_VERSION ${VERSION})
# Leaves an unchanged file alone: nothing is compiled again.
configure_file(${TEMPLATE} ${OUTPUT} @ONLY)

# The virtual environment that deploy/install.sh makes: it holds the torch wheel and google's
# protos.
set(TIGHTFIT_PYTHON ${PROJECT_SOURCE_DIR}/.venv/bin/python CACHE FILEPATH
    "The Python whose site-packages hold torch and googleapis-common-protos")
execute_process(
  COMMAND ${TIGHTFIT_PYTHON} -c "import sysconfig; print(sysconfig.get_path('purelib'))"
  OUTPUT_VARIABLE TIGHTFIT_SITE_PACKAGES OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE _failed
  ERROR_QUIET)
if(_failed OR NOT EXISTS ${TIGHTFIT_SITE_PACKAGES}/google/rpc/error_details.proto)
  message(FATAL_ERROR "No usable Python environment at ${TIGHTFIT_PYTHON}. Run deploy/install.sh, "
                      "or set TIGHTFIT_PYTHON to one with googleapis-common-protos.")
endif()

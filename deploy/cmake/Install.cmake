# What `cmake --install` and `cpack` put where. Everything runs from any prefix:
#
#   bin/                    the programs; they find their libraries in ../lib/tightfit
#   lib/tightfit/           LibTorch and what it links to that is not the system's own
#   lib/systemd/system/     the unit, which names this prefix
#   etc/tightfit/           tightfit.toml, if there is none yet; for /usr it is /etc/tightfit
#   share/                  manual pages, completions, documents and licences
#
# `cmake --install build/release --prefix PREFIX --strip`; `deploy/package_deb.sh` makes the .deb.
option(TIGHTFIT_INSTALL_LIBTORCH
  "Install LibTorch's libraries beside the programs (0.4 GB); else LD_LIBRARY_PATH names them" ON)

set(_programs)
foreach(_program tightfit tightfit-fidelity tightfit-pack tightfit-server tightfit-weights)
  if(TARGET ${_program})
    list(APPEND _programs ${_program})
    set_target_properties(${_program} PROPERTIES INSTALL_RPATH "$ORIGIN/../lib/tightfit")
  endif()
endforeach()

if(TIGHTFIT_WITH_TORCH AND TIGHTFIT_INSTALL_LIBTORCH)
  install(TARGETS ${_programs} RUNTIME_DEPENDENCY_SET tightfit_libraries RUNTIME DESTINATION bin)
  # What lies in /lib or /usr/lib belongs to packages, which the .deb depends on.
  install(RUNTIME_DEPENDENCY_SET tightfit_libraries
    PRE_EXCLUDE_REGEXES "^ld-linux"
    POST_EXCLUDE_REGEXES "^/lib" "^/usr/lib"
    LIBRARY DESTINATION lib/tightfit)
  # A fifth of libtorch_cpu is a symbol table that only debuggers read.
  install(CODE "set(_strip \"${CMAKE_STRIP}\")")
  install(CODE [[
    file(GLOB _libraries "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/lib/tightfit/lib*.so")
    execute_process(COMMAND ${_strip} --strip-unneeded ${_libraries} COMMAND_ERROR_IS_FATAL ANY)
  ]])
  file(GLOB _licences LIST_DIRECTORIES true
    ${TIGHTFIT_SITE_PACKAGES}/torch-*.dist-info/licenses
    ${TIGHTFIT_SITE_PACKAGES}/nvidia_cuda_runtime-*.dist-info/licenses
    ${TIGHTFIT_SITE_PACKAGES}/nvidia_cuda_cupti-*.dist-info/licenses)
  foreach(_licence IN LISTS _licences)
    string(REGEX REPLACE ".*/([a-z_]+)-[^/]*/licenses" "\\1" _name ${_licence})
    install(DIRECTORY ${_licence}/ DESTINATION share/doc/tightfit/licenses/${_name})
  endforeach()
else()
  install(TARGETS ${_programs} RUNTIME DESTINATION bin)
endif()

# --- Manual pages and completions -----------------------------------------------------------------
# Made from what the programs' --help prints.
set(_documents ${PROJECT_BINARY_DIR}/documents)
set(_files)
foreach(_program IN LISTS _programs)
  list(APPEND _files $<TARGET_FILE:${_program}>)
endforeach()
set(_packaging ${PROJECT_SOURCE_DIR}/deploy/packaging)
add_custom_command(
  OUTPUT ${_documents}/made
  COMMAND ${CMAKE_COMMAND} -E rm -rf ${_documents}
  COMMAND ${TIGHTFIT_PYTHON} ${_packaging} ${PROJECT_BINARY_DIR}/bin ${_documents} ${_programs}
  COMMAND ${CMAKE_COMMAND} -E touch ${_documents}/made
  DEPENDS ${_files} ${_packaging}/__main__.py ${_packaging}/help_text.py
          ${_packaging}/completions.py
  COMMENT "Making manual pages and completions" VERBATIM)
add_custom_target(tightfit_documents ALL DEPENDS ${_documents}/made)

install(DIRECTORY ${_documents}/man DESTINATION share OPTIONAL)
install(DIRECTORY ${_documents}/bash/ DESTINATION share/bash-completion/completions)
install(DIRECTORY ${_documents}/fish/ DESTINATION share/fish/vendor_completions.d)
# zsh looks into site-functions of its own prefix; /usr's is Debian's, who gives others this one.
install(CODE "set(_zsh \"${_documents}/zsh/\")")
install(CODE [[
  set(_place share/zsh/site-functions)
  if(CMAKE_INSTALL_PREFIX STREQUAL "/usr")
    set(_place share/zsh/vendor-completions)
  endif()
  file(INSTALL DESTINATION "${CMAKE_INSTALL_PREFIX}/${_place}" TYPE DIRECTORY FILES "${_zsh}")
]])

# --- The service ----------------------------------------------------------------------------------
install(CODE "set(_source \"${PROJECT_SOURCE_DIR}\")\nset(_build \"${PROJECT_BINARY_DIR}\")")
install(CODE [[
  set(_settings "${CMAKE_INSTALL_PREFIX}/etc/tightfit")
  if(CMAKE_INSTALL_PREFIX STREQUAL "/usr")
    set(_settings /etc/tightfit)
  endif()
  file(READ "${_source}/deploy/systemd/tightfit.service" _unit)
  # The comment on top tells how to install by hand.
  string(FIND "${_unit}" "[Unit]" _begin)
  string(SUBSTRING "${_unit}" ${_begin} -1 _unit)
  string(REPLACE "/opt/tightfit/bin/" "${CMAKE_INSTALL_PREFIX}/bin/" _unit "${_unit}")
  string(REPLACE " /etc/tightfit/tightfit.toml" " ${_settings}/tightfit.toml" _unit "${_unit}")
  file(WRITE "${_build}/installed/tightfit.service" "${_unit}")
  file(INSTALL DESTINATION "${CMAKE_INSTALL_PREFIX}/lib/systemd/system" TYPE FILE
    FILES "${_build}/installed/tightfit.service")
  if(NOT EXISTS "$ENV{DESTDIR}${_settings}/tightfit.toml")
    file(INSTALL DESTINATION "${_settings}" TYPE FILE RENAME tightfit.toml
      FILES "${_source}/deploy/tightfit.example.toml")
  endif()
]])

# --- Documents ------------------------------------------------------------------------------------
install(FILES README.md SECURITY.md CHANGELOG.md deploy/tightfit.example.toml
  DESTINATION share/doc/tightfit)
install(FILES LICENSE DESTINATION share/doc/tightfit RENAME copyright)

include(${PROJECT_SOURCE_DIR}/deploy/cmake/Package.cmake)

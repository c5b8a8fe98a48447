// Directories that look like model directories to the configuration: they hold a model.json.
#ifndef TIGHTFIT_TESTS_UNIT_CONFIG_MODEL_DIRECTORIES_H_
#define TIGHTFIT_TESTS_UNIT_CONFIG_MODEL_DIRECTORIES_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace tightfit {

// A new directory with `one/model.json`, `two/model.json`, `empty/` and the file `file`; removed at
// the end.
class ModelDirectories {
 public:
  ModelDirectories() {
    std::string name = testing::TempDir() + "tightfit_config_XXXXXX";
    root_ = mkdtemp(name.data());
    for (const char* model : {"one", "two"}) {
      std::filesystem::create_directory(root_ / model);
      std::ofstream(root_ / model / "model.json") << "{}";
    }
    std::filesystem::create_directory(root_ / "empty");
    std::ofstream(root_ / "file") << "x";
  }
  ~ModelDirectories() { std::filesystem::remove_all(root_); }

  std::string Path(const std::string& name) const { return (root_ / name).string(); }

  // Writes a file in the directory and returns its path.
  std::string Write(const std::string& name, const std::string& text) const {
    std::ofstream(root_ / name) << text;
    return Path(name);
  }

 private:
  std::filesystem::path root_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_UNIT_CONFIG_MODEL_DIRECTORIES_H_

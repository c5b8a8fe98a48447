// ComponentStore: components on the device, so that models of equal content share them.
#ifndef TIGHTFIT_SERVER_PIPELINE_COMPONENT_STORE_H_
#define TIGHTFIT_SERVER_PIPELINE_COMPONENT_STORE_H_

#include "server/model/component.h"

#include <map>
#include <memory>
#include <string>

namespace tightfit {

// Holds nothing itself: a component goes with the last model that uses it. For the executor's
// thread.
class ComponentStore {
 public:
  // The process's.
  static ComponentStore& Instance();

  // nullptr where no model holds such a component.
  std::shared_ptr<Component> Find(const std::string& content) const;
  void Add(const std::string& content, const std::shared_ptr<Component>& component);

 private:
  std::map<std::string, std::weak_ptr<Component>> components_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_COMPONENT_STORE_H_

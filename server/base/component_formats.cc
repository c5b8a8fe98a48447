#include "server/base/component_formats.h"

#include "server/base/closest_name.h"

#include <algorithm>
#include <array>

namespace tightfit {
namespace {

constexpr std::array kComponents =
    std::to_array<std::string_view>({"unet", "text_encoder", "text_encoder_2", "vae"});

Status AddPart(std::string_view part, std::string_view unet_scope, ComponentFormats* formats) {
  const size_t equals = part.find('=');
  const std::string component(equals == part.npos ? "unet" : part.substr(0, equals));
  const std::string_view value = equals == part.npos ? part : part.substr(equals + 1);
  if (std::ranges::find(kComponents, component) == kComponents.end()) {
    return InvalidArgument("\"" + component + "\" is no component" +
                           DidYouMean(component, {kComponents.begin(), kComponents.end()}) +
                           "; there are unet, text_encoder, text_encoder_2 and vae");
  }
  const size_t colon = value.find(':');
  ComponentFormat format{.format = std::string(value.substr(0, colon))};
  if (component == "unet") format.scope = unet_scope;
  if (colon != value.npos) format.scope = value.substr(colon + 1);
  if (format.format.empty() || format.scope.empty()) {
    return InvalidArgument("\"" + std::string(part) + "\" lacks a value; write " + component +
                           "=FORMAT or " + component + "=FORMAT:SCOPE");
  }
  if (!formats->emplace(component, std::move(format)).second) {
    return InvalidArgument("the format of " + component + " is given twice");
  }
  return OkStatus();
}

}  // namespace

Result<ComponentFormats> ParseComponentFormats(std::string_view text, std::string_view unet_scope) {
  ComponentFormats formats;
  size_t begin = 0;
  while (true) {
    const size_t end = std::min(text.find_first_of(",;", begin), text.size());
    TF_RETURN_IF_ERROR(AddPart(text.substr(begin, end - begin), unet_scope, &formats));
    if (end == text.size()) return formats;
    begin = end + 1;
  }
}

std::string ComponentFormatsText(const ComponentFormats& formats) {
  if (formats.size() == 1 && formats.contains("unet")) return formats.at("unet").format;
  std::string text;
  for (const std::string_view component : kComponents) {
    const auto found = formats.find(std::string(component));
    if (found == formats.end()) continue;
    const ComponentFormat& format = found->second;
    text += (text.empty() ? "" : ",") + found->first + "=" + format.format;
    if (component != "unet" && format.scope != kDefaultScope) text += ":" + format.scope;
  }
  return text;
}

ComponentFormat FormatOf(const ComponentFormats& formats, const std::string& component) {
  const auto found = formats.find(component);
  return found == formats.end() ? ComponentFormat() : found->second;
}

}  // namespace tightfit

#include "server/engine/sampler_names.h"

#include "server/base/closest_name.h"
#include "server/base/is_among.h"
#include "server/base/shown_samplers.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <utility>

namespace tightfit {
namespace {

// No name of a sampler is longer.
constexpr size_t kMaxNameLength = 64;

using Alias = std::pair<std::string_view, std::string_view>;

// Spelled as Normalized leaves them; what is spelled like our own name needs no row.
constexpr std::array<Alias, 39> kAliases = {{
    {"euler-ancestral", "euler-a"},
    {"unipc-bh2", "unipc"},
    {"uni-pc", "unipc"},
    {"uni-pc-bh2", "unipc"},
    {"dpmpp-2m-sde-gpu-karras", "dpmpp-2m-sde-karras"},
    {"dpmpp-sde-gpu", "dpmpp-sde"},
    {"dpmpp-sde-gpu-karras", "dpmpp-sde-karras"},
    {"dpmpp-2s-ancestral", "dpmpp-2s-a"},
    {"dpmpp-2s-ancestral-karras", "dpmpp-2s-a-karras"},
    {"dpmpp-3m-sde-gpu", "dpmpp-3m-sde"},
    {"dpm2", "kdpm2"},
    {"dpm2-a", "kdpm2-a"},
    {"dpm2-ancestral", "kdpm2-a"},
    {"dpm-2", "kdpm2"},
    {"dpm-2-a", "kdpm2-a"},
    {"dpm-2-ancestral", "kdpm2-a"},
    {"kdpm-2", "kdpm2"},
    {"kdpm-2-a", "kdpm2-a"},
    {"kdpm2-ancestral", "kdpm2-a"},
    {"plms", "pndm"},
    // Classes of diffusers, without "Scheduler".
    {"eulerdiscrete", "euler"},
    {"eulerancestraldiscrete", "euler-a"},
    {"heundiscrete", "heun"},
    {"dpmsolvermultistep", "dpmpp-2m"},
    {"dpmsolversde", "dpmpp-sde"},
    {"kdpm2discrete", "kdpm2"},
    {"kdpm2ancestraldiscrete", "kdpm2-a"},
    {"deismultistep", "deis"},
    {"unipcmultistep", "unipc"},
    // Stable Diffusion APIs and older user interfaces.
    {"eulera", "euler-a"},
    {"dpmpp2m", "dpmpp-2m"},
    {"dpmpp2m-karras", "dpmpp-2m-karras"},
    {"dpmpp2s-a", "dpmpp-2s-a"},
    {"dpmpp2s-a-karras", "dpmpp-2s-a-karras"},
    {"dpmpp2s-ancestral", "dpmpp-2s-a"},
    {"dpm-solverpp-2m", "dpmpp-2m"},
    {"dpmppsde", "dpmpp-sde"},
    {"dpmppsde-karras", "dpmpp-sde-karras"},
    {"dpmpp3m-sde", "dpmpp-3m-sde"},
}};

// How noise levels are spread, by the names that follow a sampler's elsewhere.
constexpr std::array<std::string_view, 19> kSchedules = {"sgm-uniform",
                                                         "ddim-uniform",
                                                         "uniform",
                                                         "karras",
                                                         "exponential",
                                                         "polyexponential",
                                                         "poly-exponential",
                                                         "simple",
                                                         "normal",
                                                         "beta",
                                                         "kl-optimal",
                                                         "linear-quadratic",
                                                         "automatic",
                                                         "turbo",
                                                         "align-your-steps",
                                                         "ays",
                                                         "gits",
                                                         "trailing",
                                                         "lcm"};
// Samplers that are known elsewhere and that no model here has.
constexpr std::array<std::string_view, 21> kUnserved = {"dpm-fast",
                                                        "dpm-adaptive",
                                                        "dpmpp-2m-sde",
                                                        "dpmpp-2m-sde-gpu",
                                                        "dpmpp-2m-sde-heun",
                                                        "dpmpp-2s",
                                                        "lms",
                                                        "lmsdiscrete",
                                                        "ipndm",
                                                        "ipndm-v",
                                                        "restart",
                                                        "tcd",
                                                        "heunpp2",
                                                        "res-multistep",
                                                        "er-sde",
                                                        "dpmsolversinglestep",
                                                        "edmeuler",
                                                        "flowmatcheulerdiscrete",
                                                        "sasolver",
                                                        "dpm-solverpp-2s",
                                                        "euler-cfgpp"};

void ReplaceAll(std::string* text, std::string_view from, std::string_view to) {
  for (size_t at = text->find(from); at != text->npos; at = text->find(from, at + to.size())) {
    text->replace(at, from.size(), to);
  }
}

// Small letters, `++` as "pp", one hyphen for all that parts words.
std::string Normalized(std::string_view name) {
  std::string text;
  for (const char c : name) {
    const bool parts = c == ' ' || c == '_' || c == '-';
    if (parts && !text.empty() && text.back() == '-') continue;
    if (c >= 'A' && c <= 'Z') {
      text += static_cast<char>(c - 'A' + 'a');
    } else {
      text += parts ? '-' : c;
    }
  }
  ReplaceAll(&text, "++", "pp");
  for (const std::string_view prefix : {"sample-", "k-"}) {
    if (text.starts_with(prefix)) text.erase(0, prefix.size());
  }
  if (text.ends_with("scheduler")) text.resize(text.size() - std::string_view("scheduler").size());
  if (text.ends_with("-k")) text += "arras";
  return text;
}

std::string Renamed(std::string_view normalized) {
  const auto* const alias = std::find_if(kAliases.begin(), kAliases.end(),
                                         [&](const Alias& row) { return row.first == normalized; });
  return std::string(alias == kAliases.end() ? normalized : alias->second);
}

struct Scheduled {
  std::string sampler;
  std::string_view schedule;
};

// `normalized` as a sampler and the schedule behind it.
std::optional<Scheduled> WithSchedule(std::string_view normalized) {
  std::optional<Scheduled> longest;
  for (const std::string_view schedule : kSchedules) {
    if (normalized.size() < schedule.size() + 2 || !normalized.ends_with(schedule)) continue;
    const std::string_view rest = normalized.substr(0, normalized.size() - schedule.size());
    if (!rest.ends_with('-') || (longest && longest->schedule.size() > schedule.size())) continue;
    longest = Scheduled{Renamed(rest.substr(0, rest.size() - 1)), schedule};
  }
  return longest;
}

// What A1111 takes for a sampler under "Automatic"; empty: the levels of the training timesteps.
std::string_view AutomaticSchedule(std::string_view sampler) {
  for (const ShownSampler& each : kShownSamplers) {
    if (each.name == sampler || each.name == std::string(sampler) + "-karras") {
      return each.automatic_schedule;
    }
  }
  return "";
}

std::string ListOf(const std::vector<std::string>& samplers) {
  std::string list = "must be one of ";
  for (const std::string& name : samplers) list += (name == samplers.front() ? "" : ", ") + name;
  return list;
}

}  // namespace

Result<std::string> ResolveSamplerName(std::string_view name,
                                       const std::vector<std::string>& samplers) {
  if (IsAmong(name, samplers)) return std::string(name);
  const std::string list = ListOf(samplers);
  if (name.empty() || name.size() > kMaxNameLength) return InvalidArgument(list);
  const std::string normalized = Normalized(name);
  const std::string resolved = Renamed(normalized);
  if (IsAmong(resolved, samplers)) return resolved;
  if (auto scheduled = WithSchedule(normalized)) {
    const std::string karras = scheduled->sampler + "-karras";
    const std::string_view automatic = AutomaticSchedule(scheduled->sampler);
    if (scheduled->schedule == "automatic" && automatic == "Karras") {
      scheduled->schedule = "karras";
    }
    const bool is_plain = scheduled->schedule == "normal" ||
                          (scheduled->schedule == "automatic" && automatic.empty());
    if (scheduled->schedule == "karras" && IsAmong(karras, samplers)) return karras;
    if (IsAmong(scheduled->sampler, samplers)) {
      if (is_plain) return scheduled->sampler;
      return InvalidArgument(
          list + "; " + scheduled->sampler + " is not served with the schedule " +
          std::string(scheduled->schedule) +
          (scheduled->schedule == "sgm-uniform" || scheduled->schedule == "trailing"
               ? "; timestep_spacing \"trailing\" lies next to it"
               : ""));
    }
  }
  std::string base = resolved;
  if (const auto scheduled = WithSchedule(normalized)) base = scheduled->sampler;
  if (IsAmong(base + "-karras", samplers)) {
    return InvalidArgument(list + "; " + base + " is served as " + base + "-karras alone");
  }
  if (IsAmong(base, kUnserved)) return InvalidArgument(list + "; it has no " + base);
  const std::vector<std::string_view> known(samplers.begin(), samplers.end());
  return InvalidArgument(list + DidYouMean(resolved, known));
}

}  // namespace tightfit

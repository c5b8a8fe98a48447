// `tightfit info`: the server, its device, and the limits on requests.
#include "client/cli/commands.h"
#include "client/cli/exit_code.h"
#include "client/cli/json_documents.h"
#include "client/cli/measure_text.h"
#include "client/cli/server_session.h"
#include "client/cli/standard_streams.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <string>

namespace tightfit::cli {
namespace {

std::string ServerText(const std::string& target, const client::ServerInfo& info) {
  std::string version = info.version;
  if (!info.build_commit.empty()) version += " (" + info.build_commit + ")";
  std::string text = fmt::format("tightfit-server {} at {}\n", Printable(version), target);
  const auto add = [&text](const char* name, const std::string& value) {
    text += fmt::format("  {:<9} {}\n", name, Printable(value));
  };
  if (!info.libtorch_version.empty()) add("LibTorch", info.libtorch_version);
  if (info.start_time.has_value()) add("started", TimeText(*info.start_time));
  add("requests",
      fmt::format("{} running, {} queued", info.running_request_count, info.queued_request_count));
  add("device", info.device.name + ", " + info.device.description);
  add("memory", fmt::format("{} of {} used: {} by models' tensors, {} by all else",
                            BytesText(info.device.used_bytes), BytesText(info.device.total_bytes),
                            BytesText(info.device.attributed_bytes),
                            BytesText(info.device.unattributed_bytes)));
  add("cached", fmt::format("{} of host memory hold weights of unloaded models",
                            BytesText(info.device.host_cache_bytes)));
  return text;
}

std::string CapabilitiesText(const client::Capabilities& limits, const TextStyle& style) {
  std::string text = "\n" + style.Paint("Requests", Colour::kBold) + "\n";
  const auto add = [&text](const char* name, const std::string& value) {
    text += fmt::format("  {:<9} {}\n", name, Printable(value));
  };
  add("size", fmt::format("{} to {} px a side, area up to {} px", limits.min_side_px,
                          limits.max_side_px, CountText(limits.max_area_px)));
  add("steps", fmt::format("1 to {}", limits.max_step_count));
  add("guidance", fmt::format("0 to {:g}", limits.max_guidance_scale));
  add("images", fmt::format("1 to {} for each request", limits.max_image_count));
  add("work",
      fmt::format("width x height x images x steps up to {}", CountText(limits.max_pixel_steps)));
  add("prompt", fmt::format("up to {} bytes", CountText(limits.max_prompt_bytes)));
  add("inputs",
      fmt::format("images and masks of up to {} and {} px", BytesText(limits.max_input_image_bytes),
                  CountText(limits.max_input_image_px)));
  add("queue", fmt::format("up to {} requests", limits.max_queued_requests));
  add("samplers", fmt::format("{}", fmt::join(limits.samplers, ", ")));
  add("output", fmt::format("{}", fmt::join(limits.mime_types, ", ")));
  add("scopes", fmt::format("{}", fmt::join(limits.scopes, ", ")));

  Table table({{"FORMAT"}, {"BITS", Align::kRight}, {"LARGEST", Align::kRight}});
  for (const client::WeightFormat& format : limits.formats) {
    table.AddRow({{format.name},
                  {fmt::format("{:g}", format.bits_per_weight)},
                  {fmt::format("{:g}", format.max_value)}});
  }
  return text + "\n" + table.Render(style);
}

}  // namespace

int Run(const InfoOptions& options, const InterruptWatcher& interrupts) {
  ServerSession session(options.shared, interrupts, SayOnStderr);
  if (Status status = session.Connect(); !status.ok()) return session.Fail(status);
  const Result<client::ServerInfo> info = session.client().GetServerInfo(session.Call());
  if (!info.ok()) return session.Fail(info.status());
  const Result<client::Capabilities> limits = session.client().GetCapabilities(session.Call());
  if (!limits.ok()) return session.Fail(limits.status());
  if (options.shared.json) {
    WriteOutput(Document({{"server", ToJson(*info)}, {"capabilities", ToJson(*limits)}}));
  } else {
    WriteOutput(fmt::format("{}{}", ServerText(options.shared.server, *info),
                            CapabilitiesText(*limits, Terminal(STDOUT_FILENO).style())));
  }
  return kExitOk;
}

}  // namespace tightfit::cli

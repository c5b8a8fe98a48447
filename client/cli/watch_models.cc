#include "client/cli/commands.h"
#include "client/cli/exit_code.h"
#include "client/cli/json_documents.h"
#include "client/cli/measure_text.h"
#include "client/cli/model_report.h"
#include "client/cli/standard_streams.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <sstream>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace tightfit::cli {
namespace {

std::string AgoText(const client::Model& model) {
  if (model.running_request_count > 0) {
    return fmt::format("{} running", model.running_request_count);
  }
  if (!model.last_used.has_value()) return "never";
  const auto now = std::chrono::system_clock::now();
  return DurationText(std::max<std::chrono::nanoseconds>(now - *model.last_used, {})) + " ago";
}

int64_t PurposeBytes(const client::Model& model, std::string_view purpose) {
  int64_t bytes = 0;
  for (const client::Component& component : model.components) {
    for (const client::PurposeBytes& each : component.memory) {
      if (each.purpose == purpose) bytes += each.current_bytes;
    }
  }
  return bytes;
}

std::string WatchTable(const std::vector<client::Model>& models, const client::ServerInfo& info,
                       const TextStyle& style, int width_columns) {
  Table table({{"NAME"},
               {"STATE"},
               {"WHY"},
               {"FORMAT"},
               {"WEIGHTS", Align::kRight},
               {"SHARED", Align::kRight},
               {"ACTIVATIONS", Align::kRight},
               {"HOST CACHE", Align::kRight},
               {"STAYS"},
               {"USED"}});
  for (const client::Model& model : models) {
    const bool is_resident = model.state == client::ModelState::kResident;
    table.AddRow({{model.name},
                  StateCell(model),
                  {model.state_reason},
                  {model.format},
                  {is_resident ? BytesText(model.weight_bytes) : ""},
                  {model.shared_weight_bytes > 0 ? BytesText(model.shared_weight_bytes) : ""},
                  {is_resident ? BytesText(PurposeBytes(model, "activations")) : ""},
                  {model.host_cached_bytes > 0 ? BytesText(model.host_cached_bytes) : ""},
                  {model.pinned ? "pinned"
                                : (model.keep_alive.count() > 0 ? DurationText(model.keep_alive)
                                                                : "until others need room")},
                  {AgoText(model)}});
  }
  std::string device =
      fmt::format("{} of {} reserved, {} in use", BytesText(info.device.reserved_bytes),
                  BytesText(info.device.limit_bytes), BytesText(info.device.used_bytes));
  if (info.device.host_cache_bytes > 0) {
    device += fmt::format("; {} of host memory hold weights of unloaded models",
                          BytesText(info.device.host_cache_bytes));
  }
  return FoldText(table.Render(style, width_columns) + device + "\n", width_columns);
}

// One table in the place of the one before, on a terminal that may be resized meanwhile.
class LiveTable {
 public:
  explicit LiveTable(const Terminal& terminal) : terminal_(terminal) {}

  void Draw(const std::vector<client::Model>& models, const client::ServerInfo& info) {
    // One column stays free, where the terminal's cursor waits and "^C" is echoed.
    const int width_columns = std::max(terminal_.WidthColumns() - 1, 1);
    std::vector<std::string> lines =
        Lines(WatchTable(models, info, terminal_.style(), width_columns));
    // What has left the screen at the top cannot be taken back.
    const size_t room = static_cast<size_t>(std::max(terminal_.HeightRows() - 1, 2));
    if (lines.size() > room) {
      const size_t missing = lines.size() - (room - 1);
      lines.resize(room - 1);
      lines.push_back(fmt::format("... {} more lines", missing));
    }
    std::string text;
    // Up to the begin of the table before, and everything below it away.
    if (const int rows = RowsOnScreen(); rows > 0) text = fmt::format("\033[{}A\033[J", rows);
    for (const std::string& line : lines) text += line + "\n";
    WriteOutput(text);
    drawn_ = std::move(lines);
  }

 private:
  static std::vector<std::string> Lines(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
  }

  // Of what was drawn, in the window as it is now: one that became narrower has wrapped lines.
  int RowsOnScreen() const {
    const int width_columns = std::max(terminal_.WidthColumns(), 1);
    int rows = 0;
    for (const std::string& line : drawn_) {
      rows += std::max(1, (ColumnCount(line) + width_columns - 1) / width_columns);
    }
    return std::min(rows, terminal_.HeightRows() - 1);
  }

  const Terminal& terminal_;
  std::vector<std::string> drawn_;
};

}  // namespace

int WatchModels(const ModelsOptions& options, ServerSession& session) {
  const Terminal terminal(STDOUT_FILENO);
  LiveTable table(terminal);
  std::mutex mutex;
  const auto draw = [&] {
    const std::lock_guard lock(mutex);
    const Result<std::vector<client::Model>> models = session.client().ListModels(session.Call());
    const Result<client::ServerInfo> info = session.client().GetServerInfo(session.Call());
    if (models.ok() && info.ok()) table.Draw(*models, *info);
  };
  // Activations and times move without a change of state.
  const std::jthread refresh([&](const std::stop_token& stop) {
    std::condition_variable_any wake;
    std::mutex sleep;
    std::unique_lock lock(sleep);
    while (terminal.is_interactive() && !options.shared.json && !stop.stop_requested()) {
      wake.wait_for(lock, stop, std::chrono::seconds(1), [] { return false; });
      if (!stop.stop_requested()) draw();
    }
  });
  // A reader that has gone ends it as an interrupt does.
  std::stop_source stop;
  client::CallOptions call = session.Call();
  const std::stop_callback on_interrupt(call.cancel, [&stop] { stop.request_stop(); });
  call.cancel = stop.get_token();
  const Status status = session.client().WatchModels(
      [&](const client::Model& model) {
        bool is_written = true;
        if (options.shared.json) {
          const std::string line =
              ToJson(model).dump(-1, ' ', false, Json::error_handler_t::replace);
          is_written = WriteOutput(line + "\n");
        } else if (terminal.is_interactive()) {
          draw();
        } else {
          is_written = WriteOutput(fmt::format("{}  {}  {}\n", Printable(model.name),
                                               client::ModelStateName(model.state),
                                               Printable(model.state_reason)));
        }
        if (!is_written) stop.request_stop();
      },
      call);
  if (status.code() == StatusCode::kCancelled) return kExitOk;
  return session.Fail(status);
}

}  // namespace tightfit::cli

// A batcher as commonly built: first come, first served; a batch goes when it is full or its oldest row has
// waited for the window. Thread rule: one thread.
#pragma once

#include <array>
#include <deque>
#include <utility>
#include <vector>

#include "simulation.h"

namespace floodgate::simulator {

class FixedWindow final : public Simulation {
 public:
  using Simulation::Simulation;

 private:
  bool admit(const Item& item) override {
    waiting_.push_back(item);
    return true;
  }
  void decoded(const Item& item) override { ready_[item.ensemble].push_back({item, now()}); }
  void done(std::size_t, const Flight&) override {}
  void step() override {
    while (worker_is_free() && !waiting_.empty()) {
      decode(waiting_.front());
      waiting_.pop_front();
    }
    for (std::size_t i = 0; i < kEnsembles; ++i) close(i);
  }

  void close(std::size_t ensemble) {
    const auto capacity = static_cast<std::size_t>(settings().number("batch"));
    auto& ready = ready_[ensemble];
    while (!ready.empty() && static_cast<double>(flights(ensemble).size()) < settings().number("credit")) {
      const Nanos due = ready.front().second + settings().ms("window_ms");
      if (ready.size() < capacity && now() < due) return wake(due);
      std::vector<Item> rows;
      while (!ready.empty() && rows.size() < capacity) {
        rows.push_back(ready.front().first);
        ready.pop_front();
      }
      send(ensemble, std::move(rows));
    }
  }

  std::deque<Item> waiting_;
  std::array<std::deque<std::pair<Item, Nanos>>, kEnsembles> ready_;
};

}  // namespace floodgate::simulator

#include "server/weights/kept_products.h"

#include <utility>

namespace tightfit {
namespace {

thread_local const KeptProducts* current_products = nullptr;

}  // namespace

void KeptProducts::Keep(const Weight& weight, at::Tensor product) {
  products_.insert_or_assign(&weight, std::move(product));
}

const at::Tensor* KeptProducts::Find(const at::Tensor& x, const Weight& weight) const {
  const bool is_input = x.const_data_ptr() == input_.const_data_ptr() &&
                        x.sizes() == input_.sizes() && x.strides() == input_.strides() &&
                        x.scalar_type() == input_.scalar_type();
  if (!is_input) return nullptr;
  const auto found = products_.find(&weight);
  return found == products_.end() ? nullptr : &found->second;
}

ScopedKeptProducts::ScopedKeptProducts(const KeptProducts* kept) : before_(current_products) {
  current_products = kept;
}

ScopedKeptProducts::~ScopedKeptProducts() { current_products = before_; }

const KeptProducts* CurrentKeptProducts() { return current_products; }

}  // namespace tightfit

#pragma once
#include <cmath>

#include "host_device.h"

/// The rectified Gaussian a = max(x, 0), x ~ N(mean, var), in closed form and stable in both tails. For the kernels of
/// every device.
namespace kn {

struct Rectified {
  double mean = 0, var = 0;
  double dMeanByMean = 0, dMeanByVar = 0, dVarByMean = 0, dVarByVar = 0;
};

KN_HOST_DEVICE inline Rectified rectify(double mean, double variance) {
  Rectified r;
  if (variance <= 0) {  // a point; NaN goes on, to NaN
    r.mean = mean < 0 ? 0 : mean;
    r.var = mean < 0 ? 0 : variance;
    r.dMeanByMean = r.dVarByVar = mean > 0 ? 1 : 0;
    return r;
  }
  const double std = std::sqrt(variance), t = mean / std, x = std::fabs(t);
  const double density = 0.3989422804014327 * std::exp(-0.5 * t * t);
  const double above = 0.5 * std::erfc(x * 0.7071067811865476);  // P(z > x)
  // Of the tail, E max(z - x, 0) and E max(z - x, 0)².
  double first, second;
  if (x < 3) {
    first = density - x * above;
    second = (1 + x * x) * above - x * density;
  } else {
    // Far out the terms cancel. By the continued fraction of Mills' ratio, x + 1/(x + 2/(x + 3/(x + ...))), they become
    // products: with l = 2/(x + 3/(x + ...)) and k = 1/(x + l).
    double l = 0;
    for (int i = 60; i >= 2; --i) l = i / (x + l);
    const double k = 1 / (x + l);
    first = density * k / (x + k);
    second = density * l / ((x + k) * (x + l));
  }
  const double tailVar = second - first * first;
  r.dMeanByVar = density / (2 * std);
  if (mean > 0) {
    // max(z + t, 0) = z + t + max(-z - t, 0), whose last term has the tail's moments and the covariance -above with z.
    r.mean = std * (x + first);
    r.var = variance * (1 - 2 * above + tailVar);
    r.dMeanByMean = 1 - above;
    r.dVarByMean = 2 * r.mean * above;
    r.dVarByVar = 1 - above - (x + first) * density;
  } else {
    r.mean = std * first;
    r.var = variance * tailVar;
    r.dMeanByMean = above;
    r.dVarByMean = 2 * r.mean * (1 - above);
    r.dVarByVar = above - first * density;
  }
  return r;
}

/// The moments of max(x, 0), or those of x itself: what a belief says of a layer's input.
KN_HOST_DEVICE inline Rectified inputMoments(double mean, double variance, bool rectified) {
  if (rectified) return rectify(mean, variance);
  Rectified same;
  same.mean = mean;
  same.var = variance;
  same.dMeanByMean = same.dVarByVar = 1;
  return same;
}

}  // namespace kn

//! The few statistics that the benchmarks need.

/// The value below which `fraction` of the values lie; 0 of none.
pub(crate) fn quantile(values: &[f64], fraction: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * fraction).round() as usize;
    sorted.get(at.min(last)).copied().unwrap_or_default()
}

/// The middle value; 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The geometric mean of ratios; 1 of none.
pub(crate) fn geometric_mean(ratios: &[f64]) -> f64 {
    let sum: f64 = ratios.iter().map(|ratio| ratio.ln()).sum();
    (sum / ratios.len().max(1) as f64).exp()
}

/// The medians of two series that were measured in turn, and the median of their ratios pair by pair: what
/// drifts slowly on the machine drops out of the latter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paired {
    /// The median of the first series.
    pub(crate) a: f64,
    /// The median of the second series.
    pub(crate) b: f64,
    /// The median of `a / b`.
    pub(crate) ratio: f64,
}

impl Paired {
    /// Of rounds of `(a, b)`.
    pub(crate) fn of(rounds: &[(f64, f64)]) -> Self {
        let series = |pick: fn(&(f64, f64)) -> f64| rounds.iter().map(pick).collect::<Vec<_>>();
        Self {
            a: median(&series(|(a, _)| *a)),
            b: median(&series(|(_, b)| *b)),
            ratio: median(&series(|(a, b)| a / b)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_do_not_mind_order_or_emptiness() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(quantile(&[5.0, 1.0, 2.0, 3.0, 4.0], 1.0), 5.0);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn the_geometric_mean_of_a_ratio_and_its_inverse_is_one() {
        assert!((geometric_mean(&[0.5, 2.0]) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_drift_of_the_machine_leaves_the_ratio_alone() {
        let paired = Paired::of(&[(2.0, 1.0), (4.0, 2.0), (20.0, 10.0)]);
        assert_eq!(paired.ratio, 2.0);
    }
}

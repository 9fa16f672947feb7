//! In which proportion a host takes from its queues: a decision, made anew for each reserve.

use std::str::FromStr;

use crate::{BrokerError, SYSTEM_QUEUE, check_name};

/// The largest weight: a queue that gets a thousandth still gets something within a few seconds.
const MAX_WEIGHT: u32 = 1000;

/// A queue that a host serves, as it is written: `images`, or `images:5` with its weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The queue.
    pub queue: String,
    /// How many are taken of it in proportion to the other queues; none where it was not said.
    pub weight: Option<u32>,
}

impl FromStr for Served {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, BrokerError> {
        let (queue, weight) = match text.split_once(':') {
            None => (text, None),
            Some((queue, weight)) => {
                let number = weight.parse().ok();
                let number = number.filter(|weight| (1..=MAX_WEIGHT).contains(weight));
                let expected = "a number from 1 to 1000, as in `images:5`";
                let invalid = || BrokerError::invalid("queue's weight", weight, expected);
                (queue, Some(number.ok_or_else(invalid)?))
            }
        };
        check_name("queue", queue)?;
        Ok(Self {
            queue: queue.to_owned(),
            weight,
        })
    }
}

/// The queues of one host, and whose turn it is.
#[derive(Clone, Debug)]
pub struct Turns {
    queues: Vec<Served>,
    /// What each queue is ahead of or behind its share, in turns times the sum of all weights.
    credits: Vec<i64>,
    has_weights: bool,
}

impl Turns {
    /// Without any weight the queues are first come first; with one, those that say nothing weigh 1.
    pub fn new(queues: Vec<Served>) -> Self {
        Self {
            has_weights: queues.iter().any(|served| served.weight.is_some()),
            credits: vec![0; queues.len()],
            queues,
        }
    }

    /// The queues, and the one that every host serves before all others.
    pub fn queues(&self) -> Vec<String> {
        let queues = self.queues.iter().map(|served| served.queue.clone());
        std::iter::once(SYSTEM_QUEUE.to_owned())
            .chain(queues)
            .collect()
    }

    /// The order of the queues and the quota of each (none without weights) for a reserve of at most `max`. The next `max`
    /// turns are given one by one to the queue that is furthest behind its share; a queue that has too little to use its
    /// turns leaves them to the others, and is owed nothing.
    pub fn next(&mut self, max: usize) -> (Vec<String>, Vec<usize>) {
        if !self.has_weights {
            return (self.queues(), Vec::new());
        }
        let mut order: Vec<usize> = Vec::with_capacity(self.queues.len());
        let mut quotas = vec![0; self.queues.len()];
        for _ in 0..max {
            let turn = self.give_turn();
            if let Some(quota) = quotas.get_mut(turn) {
                *quota += 1;
            }
            if !order.contains(&turn) {
                order.push(turn);
            }
        }
        // Those without a turn this time come last: what the others leave is theirs.
        order.extend((0..self.queues.len()).filter(|index| quotas.get(*index) == Some(&0)));
        let served = order.iter().filter_map(|index| {
            let (served, quota) = (self.queues.get(*index)?, quotas.get(*index)?);
            Some((served.queue.clone(), *quota))
        });
        // Requests to the host itself come first: they are few, and people wait for them.
        std::iter::once((SYSTEM_QUEUE.to_owned(), max))
            .chain(served)
            .unzip()
    }

    fn give_turn(&mut self) -> usize {
        let mut total = 0;
        let mut first = (0, i64::MIN);
        for (index, (served, credit)) in self.queues.iter().zip(&mut self.credits).enumerate() {
            let weight = i64::from(served.weight.unwrap_or(1));
            total += weight;
            *credit += weight;
            if *credit > first.1 {
                first = (index, *credit);
            }
        }
        if let Some(credit) = self.credits.get_mut(first.0) {
            *credit -= total;
        }
        first.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(queues: &[&str]) -> Turns {
        Turns::new(queues.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn a_plain_list_is_first_come_first() {
        let (queues, quotas) = turns(&["b", "a"]).next(10);
        assert_eq!(queues, [SYSTEM_QUEUE, "b", "a"]);
        assert!(quotas.is_empty());
    }

    #[test]
    fn weights_are_kept_within_a_reserve_and_over_many() {
        let mut many = turns(&["urgent:5", "default"]);
        let (queues, quotas) = many.next(12);
        assert_eq!(queues, [SYSTEM_QUEUE, "urgent", "default"]);
        assert_eq!(quotas, [12, 10, 2]);
        // One slot at a time: the order is what counts.
        let mut single = turns(&["a:3", "b:2", "c:1"]);
        let firsts: Vec<_> = (0..12).map(|_| single.next(1).0.remove(1)).collect();
        let count = |queue: &str| firsts.iter().filter(|first| *first == queue).count();
        assert_eq!((count("a"), count("b"), count("c")), (6, 4, 2));
        assert!(
            firsts.windows(3).all(|three| three != ["a", "a", "a"]),
            "{firsts:?}"
        );
    }

    #[test]
    fn every_queue_is_asked_each_time() {
        let (mut queues, quotas) = turns(&["a:1000", "b", "c"]).next(1);
        assert_eq!(quotas, [1, 1, 0, 0]);
        queues.sort();
        assert_eq!(queues, ["a", "b", "c", SYSTEM_QUEUE]);
    }

    #[test]
    fn refuses_what_is_no_weight() {
        for text in ["a:0", "a:1001", "a:x", "a:", ":1", "A:1", "a:1:1"] {
            assert!(text.parse::<Served>().is_err(), "{text}");
        }
    }
}

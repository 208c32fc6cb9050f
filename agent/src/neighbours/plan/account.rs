//! The account of patience of one installation: what holding back the source may cost.

/// What a source gives of which nothing is known yet, bytes in a second: a slow line into a house.
const ASSUMED: f64 = 1_048_576.0;
/// Of the time that the source would need for everything, a quarter may be lost by neighbours; within these seconds.
const SHARE: f64 = 0.25;
const LEAST: f64 = 2.0;
const MOST: f64 = 30.0;

/// Seconds that were lost by holding back, less what was saved by it.
#[derive(Debug)]
pub(super) struct Account {
    all: u64,
    bytes: f64,
    seconds: f64,
    spent: f64,
    empty: bool,
}

impl Account {
    /// For an installation of which the source would send so many bytes.
    pub(super) fn new(all: u64) -> Self {
        Self {
            all,
            bytes: 0.0,
            seconds: 0.0,
            spent: 0.0,
            empty: false,
        }
    }

    /// So many seconds passed.
    pub(super) fn spend(&mut self, seconds: f64) {
        self.spent += seconds.max(0.0);
        let most = (SHARE * self.price(self.all)).clamp(LEAST, MOST);
        self.empty |= self.spent > most;
    }

    /// So many bytes need not come from the source any more. What was not spent is not saved for later.
    pub(super) fn pay_in(&mut self, cost: u64) {
        self.spent = (self.spent - self.price(cost)).max(0.0);
    }

    /// The source gave so many bytes in so many seconds.
    pub(super) fn learn(&mut self, cost: u64, took: f64) {
        self.bytes += float(cost);
        self.seconds += took.max(0.0);
    }

    /// Seconds that the source needs for so many bytes.
    pub(super) fn price(&self, cost: u64) -> f64 {
        // a source that is as fast as memory has no price
        let pace = if self.bytes > 0.0 {
            self.bytes / self.seconds.max(0.001)
        } else {
            ASSUMED
        };
        float(cost) / pace
    }

    /// Nobody is waited for any more, for good.
    pub(super) fn is_empty(&self) -> bool {
        self.empty
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes of a release are far below 2^52"
)]
fn float(bytes: u64) -> f64 {
    bytes as f64
}

//! A board is back in service when its owner's hooks say so: until then nobody else goes.

use super::super::journal::{Outcome, State};
use super::super::sim::Fault;
use super::{Hand, all_good};

#[test]
fn a_board_whose_hooks_have_not_put_it_back_into_service_is_still_out() {
    let mut faults = all_good(4);
    faults[0] = Fault::HooksTakeLong;
    faults[2] = Fault::HooksTakeLong;
    // that nobody else is told meanwhile is checked at each order
    let mut hand = Hand::new(&faults, |_| ());
    assert_eq!(hand.run(), Outcome::Done);
    assert_eq!((hand.updated(), hand.told.len()), (4, 4));

    faults[2] = Fault::HooksFail;
    let mut hand = Hand::new(&faults, |_| ());
    assert_eq!(hand.run(), Outcome::Stopped);
    let State::Failed(why) = hand.state(2) else {
        panic!("{:?}", hand.state(2))
    };
    assert!(why.contains("hooks of after the update"), "{why}");
    assert_eq!(hand.told, ["n0", "n1", "n2"]);
}

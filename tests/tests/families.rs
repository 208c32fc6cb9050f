//! The table of the old assertions is whole, and everything in it is there.

use hypriot_tests::families::{ASSERTED, Families};
use hypriot_tests::papers::root;

#[test]
fn every_old_assertion_is_accounted_for() {
    let families = Families::read().expect("the table");
    assert_eq!(families.totals().0, ASSERTED);
}

#[test]
fn what_stands_for_old_assertions_is_there() {
    let families = Families::read().expect("the table");
    let wrong = families.wrong(&root()).expect("the project can be read");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_not_there_is_found_out() {
    let text = "[[family]]\nname = 'x'\nselftest = ['10-system.yaml mount /nowhere', 'a']\ninspect = ['nothing like it']\nimage = ['dreams']\n\
        test = ['no_such_test_anywhere']\n[[family]]\nname = 'y'\n";
    let mut families = Families::read().expect("the table");
    let more = format!("lacked = []\n{text}");
    families.family = toml::from_str::<Families>(&more).expect("a table").family;
    families.lacked.clear();
    let wrong = families.wrong(&root()).expect("the project can be read");
    assert_eq!(wrong.len(), 6, "{wrong:#?}");
}

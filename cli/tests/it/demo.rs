//! The demo: it shows what it promises and leaves nothing behind.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use fastrand::Rng;

use crate::harness::{Guarded, Home, command, grow};
use crate::run;

#[test]
fn the_demo_plays_all_acts_and_removes_its_directory() {
    let home = Home::new();
    grow(&home.at("tree"), 40, &mut Rng::with_seed(6));
    std::fs::create_dir(home.at("place")).unwrap();
    let told = run!("demo", "--rounds=4", "--home", home.at("place"), home.at("tree")).done();
    let acts: Vec<&str> = told.lines().map(|line| line[..8].trim_end()).collect();
    assert_eq!(acts, ["index", "list", "kill -9", "verify", "done"], "{told}");
    assert_eq!(std::fs::read_dir(home.at("place")).unwrap().count(), 0);
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let home = Home::new();
    grow(&home.at("tree"), 5, &mut Rng::with_seed(7));
    std::fs::create_dir(home.at("place")).unwrap();
    let mut demo = command();
    demo.args(["demo", "--rounds=100000", "--home"]).arg(home.at("place")).arg(home.at("tree"));
    let mut child = Guarded(demo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut output = BufReader::new(child.0.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("list") {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "{:?}", child.end());
    }
    let sent = Command::new("kill").args(["-TERM", &child.0.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.end(), (Some(130), "treering: interrupted\n".to_string()));
    assert_eq!(std::fs::read_dir(home.at("place")).unwrap().count(), 0);
}

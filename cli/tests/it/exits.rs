//! Exit codes and what is said with them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use crate::harness::{Guarded, Home, command, fed};
use crate::run;

fn filled(home: &Home) -> std::path::PathBuf {
    let store = home.at("store");
    let lines: String =
        (0..3000).map(|number| format!("some/key/{number:06}\t{}\n", "v".repeat(40))).collect();
    assert_eq!(fed(["load".as_ref(), store.as_os_str()], lines.as_bytes()).code, 0);
    store
}

#[test]
fn a_clean_no_is_1() {
    let home = Home::new();
    let store = home.at("store");
    run!("put", &store, "k", "v").done();
    assert_eq!(run!("get", &store, "zz\n").fails(1), "treering: the store has no key 'zz\\x0a'\n");
    run!("del", &store, "zz").fails(1);
    run!("put", "--if-absent", &store, "k", "v").fails(1);
    assert!(run!("scan", "--tree", "nobody", &store).fails(1).contains("nobody"));
}

#[test]
fn wrong_usage_is_2() {
    let home = Home::new();
    let store = home.at("store");
    run!("no-such-command").fails(2);
    run!("get", &store).fails(2);
    run!("put", &store, "k", "v", "--ttl", "soon").fails(2);
    run!("put", &store, "k", "v", "--if-absent", "--if-version", "1").fails(2);
    run!("put", "--hex", &store, "6", "62").fails(2);
    run!("put", "--hex", "--escaped", &store, "61", "62").fails(2);
    run!("load", "--threads", "0", &store).fails(2);
    run!("put", &store, "k".repeat(9000), "v").fails(2);
    run!("--help").done();
    run!("scan", "--help").done();
    run!("--version").done();
}

#[test]
fn damage_is_4_and_is_named_with_file_and_offset() {
    let home = Home::new();
    let store = filled(&home);
    assert_eq!(run!("verify", &store).code, 0);
    let file = store.join("MANIFEST");
    let mut bytes = fs::read(&file).unwrap();
    bytes[9] ^= 0x10;
    fs::write(&file, &bytes).unwrap();
    let ran = run!("verify", &store);
    let listed = String::from_utf8_lossy(&ran.out).into_owned();
    assert!(listed.lines().next().unwrap_or_default().contains("MANIFEST:"), "{listed} {}", ran.err);
    ran.fails(4);
    let json = run!("verify", "--json", &store);
    let first: serde_json::Value =
        serde_json::from_slice(json.out.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    assert!(first["file"].as_str().unwrap().ends_with("MANIFEST"), "{first}");
    assert!(first["offset"].is_u64() && first["what"].is_string() && first["covers"].is_string(), "{first}");
    assert_eq!(json.code, 4);
    assert!(run!("get", &store, "some/key/000001").fails(4).contains("treering verify"));
    assert_eq!(fs::read(&file).unwrap(), bytes, "nothing was changed");
}

#[test]
fn what_the_operating_system_refuses_is_5() {
    let home = Home::new();
    let store = filled(&home);
    assert!(run!("load", &store, home.at("nothing")).fails(5).contains("nothing"));
    assert!(run!("index", &store, home.at("nothing")).fails(5).contains("nothing"));
    if Path::new("/dev/full").exists() {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut scan = command();
        let ran = scan.arg("scan").arg(&store).stdout(full).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(ran.status.code(), Some(5));
        assert!(String::from_utf8_lossy(&ran.stderr).contains("standard output"));
    }
}

#[test]
fn what_is_no_store_is_6() {
    let home = Home::new();
    for command in ["get", "del"] {
        run!(command, home.at("missing"), "k").fails(6);
    }
    for command in ["ls", "scan", "tree", "stat", "checkpoint", "verify"] {
        run!(command, home.at("missing")).fails(6);
        assert!(!home.at("missing").exists(), "{command} makes nothing");
    }
    fs::create_dir(home.at("other")).unwrap();
    fs::write(home.at("other").join("precious"), b"data").unwrap();
    run!("ls", home.at("other")).fails(6);
    run!("put", home.at("other"), "k", "v").fails(6);
    assert_eq!(fs::read_dir(home.at("other")).unwrap().count(), 1, "nothing was added");
}

#[test]
fn a_reader_that_leaves_ends_the_output_quietly() {
    let home = Home::new();
    let store = filled(&home);
    let mut scan = command();
    scan.arg("scan").arg(&store).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Guarded(scan.spawn().unwrap());
    let mut output = BufReader::with_capacity(16, child.0.stdout.take().unwrap());
    let mut line = Vec::new();
    output.read_until(b'\n', &mut line).unwrap();
    assert!(line.starts_with(b"some/key/000000\t"));
    drop(output);
    assert_eq!(child.end(), (Some(0), String::new()));
}

#[test]
fn a_load_whose_acknowledgements_nobody_reads_stops_and_says_so_by_its_code() {
    let home = Home::new();
    let mut load = command();
    load.args(["load", "--ack"]).arg(home.at("store")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = Guarded(load.stderr(Stdio::piped()).spawn().unwrap());
    drop(child.0.stdout.take());
    let mut input = child.0.stdin.take().unwrap();
    // It ends at the first acknowledgement, so the pipe closes at some point of a long enough input.
    let refused = (0..100_000)
        .any(|number| std::io::Write::write_all(&mut input, format!("k{number}\n").as_bytes()).is_err());
    assert!(refused);
    assert_eq!(child.end(), (Some(5), String::new()));
}

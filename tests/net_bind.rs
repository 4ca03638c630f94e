//! Binding a port: who is refused, what is said, what is warned about.

use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, UdpSocket};
use tidelock::net::{BindConfig, BindError, BufferKind, LockError, SocketGroup};

fn config(address: &str, sockets: usize) -> BindConfig {
    BindConfig::new(address.parse().unwrap(), sockets)
}

#[test]
fn a_second_server_on_the_port_is_refused_while_the_first_lives() {
    let first = SocketGroup::bind(&config("127.0.0.1:0", 3)).unwrap();
    assert_eq!(first.len(), 3);
    let again = BindConfig::new(first.local_address(), 3);
    let error = SocketGroup::bind(&again).unwrap_err();
    assert!(matches!(error, BindError::Lock(LockError::Held { .. })), "{error:?}");
    let text = error.to_string();
    let port = first.local_address().port();
    assert!(text.contains(&port.to_string()), "{text}");
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    drop(first);
    assert_eq!(SocketGroup::bind(&again).unwrap().local_address(), again.address);
}

#[test]
fn a_port_that_somebody_has_without_the_lock_is_not_joined_either() {
    // Somebody who takes no lock, and lets others join.
    let other = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    other.set_reuse_port(true).unwrap();
    other.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = other.local_addr().unwrap().as_socket().unwrap();
    let error = SocketGroup::bind(&BindConfig::new(address, 2)).unwrap_err();
    assert!(matches!(error, BindError::InUse(_)), "{error:?}");
}

#[test]
fn a_share_of_a_socket_keeps_nothing_but_the_group_keeps_the_order() {
    let group = SocketGroup::bind(&config("127.0.0.1:0", 3)).unwrap();
    drop(group.socket(0));
    drop(group.socket(1));
    assert!(group.socket(2).is_some() && group.socket(3).is_none());
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(sender.send_to(&[1], group.local_address()).unwrap(), 1);
}

#[test]
fn every_error_names_what_is_wrong_and_what_to_do() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let holder = UdpSocket::bind(taken).unwrap();
    let in_use = SocketGroup::bind(&BindConfig::new(taken, 1)).unwrap_err().to_string();
    assert!(in_use.contains(&taken.to_string()) && in_use.contains("ss -ulpn"), "{in_use}");
    drop(holder);

    let elsewhere = SocketGroup::bind(&config("192.0.2.1:0", 1)).unwrap_err().to_string();
    assert!(elsewhere.contains("192.0.2.1") && elsewhere.contains("ip address"), "{elsewhere}");

    for count in [0, 257] {
        let error = SocketGroup::bind(&config("127.0.0.1:0", count)).unwrap_err().to_string();
        assert!(error.contains(&count.to_string()), "{error}");
    }
}

#[test]
fn a_buffer_smaller_than_wished_is_a_warning_with_the_command_that_mends_it() {
    let mut wish = config("127.0.0.1:0", 2);
    // More than the kernel grants to anybody: half of the range of an int.
    wish.receive_buffer = 3 << 30;
    wish.send_buffer = 64 << 10;
    let group = SocketGroup::bind(&wish).unwrap();
    let [warning] = group.warnings() else { panic!("{:?}", group.warnings()) };
    assert_eq!(warning.kind, BufferKind::Receive);
    assert!(warning.granted < warning.wished && warning.wished == 3 << 30);
    let text = warning.to_string();
    assert!(text.contains("sysctl -w net.core.rmem_max=3221225472"), "{text}");
    assert!(text.contains(&warning.granted.to_string()), "{text}");

    wish.send_buffer = 3 << 30;
    assert_eq!(SocketGroup::bind(&wish).unwrap().warnings().len(), 2, "one for each kind");
    (wish.receive_buffer, wish.send_buffer) = (64 << 10, 64 << 10);
    assert!(SocketGroup::bind(&wish).unwrap().warnings().is_empty());
}

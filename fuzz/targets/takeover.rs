#![no_main]

server_starter_fuzz::target!(server_starter::fuzzing::takeover);

#![no_main]

server_starter_fuzz::target!(server_starter_worker::fuzzing::worker_port);

"""The peers' servers, each a program that runs in the peers' environment and is told what to do by ``PEER_*``."""

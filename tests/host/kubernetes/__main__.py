"""`python -m tests.host.kubernetes up|down|build|load IMAGE...`: the test cluster."""

from tests.host.kubernetes.cluster import main

main()

"""What is said to a plan beside run and cancel: the face of haas.orchestrator.v1.PlanControl."""

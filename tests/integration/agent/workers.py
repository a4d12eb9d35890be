"""The function that spawned processes run; they must be able to import it."""


def log_hundred(session):
    for i in range(100):
        session.emit_metrics({"worker": float(i)})

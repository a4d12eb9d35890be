"""What spawned processes run: it must be importable there."""


def log_hundred(session):
    for i in range(100):
        session.emit_metrics({"worker": float(i)})

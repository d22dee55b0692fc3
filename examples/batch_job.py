"""A batch job, watched: a table of predictions at once. Run it beside a Pushgateway; it prints its own counts, too."""

import os

import pandas as pd

import modelwatch

monitor = modelwatch.Monitor.from_config("modelwatch.yaml", "sentiment")

if __name__ == "__main__":
    frame = pd.DataFrame({"text": ["good", "bad", "so good"]})
    frame["prediction"] = ["positive" if "good" in text else "negative" for text in frame["text"]]  # your model
    frame["confidence"] = 0.9
    frame["text_length"] = frame["text"].str.len()
    monitor.record_batch(frame, endpoint="nightly")
    if not monitor.push(os.environ.get("PUSHGATEWAY", "http://localhost:9091"), job="nightly"):
        print("# No Pushgateway has taken the counts; they are in live.db, and the next run pushes them, too.")
    print(monitor.metrics().decode())

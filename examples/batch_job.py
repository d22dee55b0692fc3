"""A batch job, watched: a table of predictions at once. Run it; it prints its own counts."""

import pandas as pd

import modelwatch

monitor = modelwatch.Monitor.from_config("modelwatch.yaml", "sentiment")

if __name__ == "__main__":
    frame = pd.DataFrame({"text": ["good", "bad", "so good"]})
    frame["prediction"] = ["positive" if "good" in text else "negative" for text in frame["text"]]  # your model
    frame["confidence"] = 0.9
    frame["text_length"] = frame["text"].str.len()
    monitor.record_batch(frame, endpoint="nightly")
    monitor.flush(5)
    print(monitor.metrics().decode())

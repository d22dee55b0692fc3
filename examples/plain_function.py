"""A function, watched: no framework, no server. Run it; it prints its own counts."""

import modelwatch

monitor = modelwatch.Monitor.from_config("modelwatch.yaml", "sentiment")


@monitor.endpoint("predict", features=lambda text: {"text_length": len(text)})
def predict(text):
    label, score = ("positive", 0.9) if "good" in text else ("negative", 0.6)  # your model
    return {"label": label, "confidence": score}


if __name__ == "__main__":
    for text in ["good", "bad", "so good"]:
        predict(text)
    monitor.flush(5)
    print(monitor.metrics().decode())

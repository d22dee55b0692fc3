"""A Flask service, watched. Run it: flask --app flask_service run; look at /metrics."""

from flask import Flask, request

import modelwatch
from modelwatch.integrations.flask import instrument

app = Flask(__name__)
monitor = modelwatch.Monitor.from_config("modelwatch.yaml", "sentiment")
instrument(app, monitor)


@app.get("/predict")
def predict():
    text = request.args["text"]
    label, score = ("positive", 0.9) if "good" in text else ("negative", 0.6)  # your model
    modelwatch.current_request().predicted(label, confidence=score, features={"text_length": len(text)})
    return {"label": label, "confidence": score}

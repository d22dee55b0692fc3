"""A FastAPI service, watched. Run it: uvicorn fastapi_service:app --workers 2; look at /metrics."""

from fastapi import FastAPI

import modelwatch
from modelwatch.integrations.fastapi import instrument

app = FastAPI()
monitor = modelwatch.Monitor.from_config("modelwatch.yaml", "sentiment")
instrument(app, monitor)


@app.get("/predict")
def predict(text: str):
    label, score = ("positive", 0.9) if "good" in text else ("negative", 0.6)  # your model
    request = modelwatch.current_request()
    request.predicted(label, confidence=score, features={"text_length": len(text)})
    return {"label": label, "confidence": score, "request_id": request.id}

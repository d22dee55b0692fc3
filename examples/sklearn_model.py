"""A scikit-learn estimator, watched. Run it; it prints its own counts."""

from sklearn.linear_model import LogisticRegression

import modelwatch
from modelwatch.integrations.sklearn import watch

monitor = modelwatch.Monitor.from_config("modelwatch.yaml", "sentiment")

if __name__ == "__main__":
    lengths, labels = [[3.0], [40.0], [5.0], [60.0]], ["negative", "positive", "negative", "positive"]
    model = watch(LogisticRegression().fit(lengths, labels), monitor, feature_names=["text_length"])
    model.predict([[4.0], [50.0]])
    model.predict_proba([[7.0]])
    monitor.flush(5)
    print(monitor.metrics().decode())

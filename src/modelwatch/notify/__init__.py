"""From a change of an alert to a message at its receiver: outbox, grouping, dispatcher, senders."""

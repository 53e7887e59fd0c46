"""RabbitMQ: topology, consuming, publishing and the dead-letter queue, on pika's blocking connection."""

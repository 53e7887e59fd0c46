"""notifier: job events on RabbitMQ become mails, through each customer's own SMTP server."""

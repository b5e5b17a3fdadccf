"""What a record's labels amount to, and the page that shows it: measures, episodes, shapes, strips."""

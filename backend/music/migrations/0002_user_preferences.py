"""v1.1: what a listener prefers to read, hear and see."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("music", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="user",
            name="preferred_language",
            field=models.CharField(
                choices=[("hi", "Hindi"), ("en", "English")],
                default="en",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="user",
            name="audio_quality",
            field=models.CharField(
                choices=[("128", "128 kbps"), ("192", "192 kbps"), ("320", "320 kbps")],
                default="192",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="user",
            name="theme_preference",
            field=models.CharField(default="dark", max_length=50),
        ),
        migrations.AddIndex(
            model_name="user",
            index=models.Index(fields=["preferred_language"], name="user_lang_idx"),
        ),
    ]
